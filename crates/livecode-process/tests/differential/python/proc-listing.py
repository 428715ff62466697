import os
print(sorted(os.listdir('/proc')))
print(sorted(os.listdir('/proc/self')))
