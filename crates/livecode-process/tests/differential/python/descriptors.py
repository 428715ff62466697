import os
for name in sorted(os.listdir('/proc/self/fd'), key=int):
    try:
        print(name, os.readlink('/proc/self/fd/' + name).split('[')[0])
    except OSError as error:
        print(name, error.strerror)
