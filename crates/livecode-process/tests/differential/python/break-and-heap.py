import ctypes
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
print(libc.sbrk(0) is not None, [line.split()[1] for line in open('/proc/self/maps') if '[heap]' in line or '[stack]' in line])
