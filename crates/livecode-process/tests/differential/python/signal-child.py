import os, signal
seen = []
signal.signal(signal.SIGCHLD, lambda number, frame: seen.append(number))
pid = os.fork()
if not pid:
    os._exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen == [signal.SIGCHLD])
