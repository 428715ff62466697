import ctypes, atexit
atexit.register(print, 'no handler of python runs')
ctypes.CDLL(None).puts(b'flushed')
ctypes.CDLL(None).exit(6)
