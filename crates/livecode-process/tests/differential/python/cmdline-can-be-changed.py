import ctypes, os
name = ctypes.create_string_buffer(b'renamed')
ctypes.CDLL(None).prctl(15, name, 0, 0, 0)
print(open('/proc/self/comm').read(), os.readlink('/proc/self/exe'))
