import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
try:
    os.kill(-1, signal.SIGTERM)
    print('nobody was there, or nobody minded')
except OSError as error:
    print(error)
