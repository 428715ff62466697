import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
    try:
        with socket.socket(family) as it:
            print(it.family, it.fileno(), it.gettimeout(), it.connect_ex(('127.0.0.1', 9) if family == socket.AF_INET else '/work/none' if family == socket.AF_UNIX else ('::1', 9)))
    except OSError as error:
        print(error)
try:
    socket.getaddrinfo('example.org', 80)
except OSError as error:
    print(error)
print(socket.getaddrinfo('localhost', 80, type=socket.SOCK_STREAM))
socket.if_nameindex()
