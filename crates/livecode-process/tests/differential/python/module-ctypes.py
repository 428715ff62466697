import ctypes, ctypes.util
libc = ctypes.CDLL(None, use_errno=True)
print(libc.getpid(), libc.abs(-3), ctypes.util.find_library('c'), ctypes.sizeof(ctypes.c_long))
libc.printf(b'by printf %d\n', 3)
libc.fflush(None)
