import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.fopen.restype = libc.fopen64.restype = libc.fdopen.restype = ctypes.c_void_p
print(libc.open(b'/work/main.py', 0) > 2, libc.open64(b'main.py', 0) > 2, libc.openat(-100, b'main.py', 0) > 2, libc.openat64(-100, b'/work/main.py', 0) > 2)
print(bool(libc.fopen(b'main.py', b'r')), bool(libc.fopen64(b'/work/main.py', b'r')), libc.open(b'/work/none', 0), ctypes.get_errno())
print(libc.open(b'/work/made', os.O_CREAT | os.O_WRONLY, 0o600) > 2, oct(os.stat('made').st_mode))
print(libc.open(b'/work', os.O_TMPFILE | os.O_WRONLY, 0o600) > 2, libc.creat(b'made too', 0o640) > 2, oct(os.stat('made too').st_mode))
