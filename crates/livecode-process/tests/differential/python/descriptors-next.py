import os, socket
print(open('main.py').fileno(), socket.socketpair()[0].fileno(), os.pipe(), os.open('.', os.O_RDONLY))
