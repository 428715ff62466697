import ctypes
libc = ctypes.CDLL(None, use_errno=True)
head, length = ctypes.c_void_p(), ctypes.c_size_t()
print(libc.syscall(ctypes.c_long(274), 0, ctypes.byref(head), ctypes.byref(length)), length.value, bool(head.value))
