import os, sys
for status in [0, 3]:
    child = os.fork()
    if child == 0:
        sys.exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
child = os.fork()
if child == 0:
    raise ValueError('in a child')
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
