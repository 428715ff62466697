import atexit, os
atexit.register(lambda: os.write(1, b'once for each process\n'))
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
