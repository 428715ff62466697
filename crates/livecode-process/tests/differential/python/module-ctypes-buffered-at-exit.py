import ctypes
ctypes.CDLL(None).printf(b'flushed by exit\n')
print('first')
