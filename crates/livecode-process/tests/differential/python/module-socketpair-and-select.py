import select, socket
one, two = socket.socketpair()
poll = select.poll()
poll.register(two, select.POLLIN)
one.send(b'x')
print(poll.poll(1000), two.recv(1), select.epoll().fileno())
