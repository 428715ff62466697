import ctypes, os
libc = ctypes.CDLL(None)
kind = ctypes.CFUNCTYPE(None)
callback = kind(lambda: os.write(1, b'called by C\n'))
libc.atexit(callback)
print('over')
