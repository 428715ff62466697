import os, signal
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGINT)
print('interrupted' if os.waitpid(child, 0)[1] == signal.SIGINT else 'not interrupted')
