import os
print(os.listdir('/proc/self/task'), os.listdir('/proc/self/task/%d/children' % os.getpid()) if os.path.isdir('/proc/self/task/%d/children' % os.getpid()) else None)
