import atexit
atexit.register(print, 'a')
atexit.register(len, 'b')
atexit.unregister(print)
print(atexit._ncallbacks())
