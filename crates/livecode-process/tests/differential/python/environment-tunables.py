#= any-temperature
#= env: GLIBC_TUNABLES=glibc.malloc.perturb=90
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
print(ctypes.string_at(libc.malloc(1 << 20), 4))
