import ctypes, os
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
print([(name, os.stat('/proc/self/' + name).st_uid, os.stat('/proc/self/' + name).st_gid) for name in ('', 'stat', 'status', 'environ', 'fd', 'maps')])
