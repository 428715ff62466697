def numbers():
    try:
        me = yield
        yield
    finally:
        print('finally')
running = numbers()
next(running)
running.send(running)
del running
