import os, signal
pid = os.fork()
if not pid:
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(4)
print(os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]))
os.kill(pid, signal.SIGCONT)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
