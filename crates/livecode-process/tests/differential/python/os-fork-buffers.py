import os
out = open(1, 'w', closefd=False)
out.write('written once, flushed twice\n')
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
