import os, signal
for number in (signal.SIGTERM, signal.SIGKILL, 0):
    try:
        os.kill(1, number)
        print('sent')
    except OSError as error:
        print(error)
