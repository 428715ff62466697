import ctypes
libc = ctypes.CDLL(None)
libc.printf(b'buffered by C\n')
print('over')
