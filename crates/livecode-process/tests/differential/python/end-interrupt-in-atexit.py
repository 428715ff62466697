import atexit, signal

def last():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    print('last')

atexit.register(last)
