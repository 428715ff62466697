import os, sys
print('before')
os.execv(sys.executable, [sys.executable, '-c', 'import os, sys; print("after", os.getpid(), sys.argv, sorted(os.listdir("/proc/self/fd")))'])
