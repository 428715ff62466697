import ctypes
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
names = []
class Info(ctypes.Structure):
    _fields_ = [('address', ctypes.c_uint64), ('name', ctypes.c_char_p)]
def seen(info, size, data):
    names.append(ctypes.cast(info, ctypes.POINTER(Info)).contents.name)
    return 0
ctypes.CDLL(None).dl_iterate_phdr(CALLBACK(seen), None)
print(names)
