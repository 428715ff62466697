#= differs
import ctypes
getauxval = ctypes.CDLL(None).getauxval
getauxval.restype = ctypes.c_void_p
print(ctypes.string_at(getauxval(25), 16))
