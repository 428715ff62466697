import ctypes
names = ('livecode_warm', 'livecode_park', 'park', 'parked', 'rust_begin_unwind', 'rust_eh_personality', '__rust_alloc')
print([hasattr(ctypes.CDLL(None), name) for name in names])
