import ctypes
libc = ctypes.CDLL(None)
print(libc.syscall(ctypes.c_long(252), 1, 0), libc.prctl(30, 0, 0, 0, 0), libc.syscall(ctypes.c_long(135), ctypes.c_ulong(0xFFFFFFFF)))
print(open('/proc/self/oom_score_adj').read(), open('/proc/self/timerslack_ns').read() if __import__('os').path.exists('/proc/self/timerslack_ns') else None)
