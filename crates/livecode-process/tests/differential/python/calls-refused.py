import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for name, arguments in (('unshare', (0x10000000,)), ('mount', (b'none', b'/tmp', b'tmpfs', 0, 0)), ('chroot', (b'/tmp',)), ('sethostname', (b'x', 1)), ('setuid', (0,)), ('personality', (0x0040000,))):
    print(name, getattr(libc, name)(*arguments), ctypes.get_errno())
