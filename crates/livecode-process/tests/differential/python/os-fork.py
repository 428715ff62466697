import os, sys
print('parent', os.getpid(), os.getppid())
pid = os.fork()
if pid == 0:
    print('child', os.getpid(), os.getppid(), sys.argv, __file__)
    sys.exit(6)
print(pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
