import os
print(sorted(os.listdir('/')), sorted(os.listdir('/dev')), sorted(os.listdir('/etc')))
