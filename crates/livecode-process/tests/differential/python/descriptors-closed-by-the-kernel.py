import ctypes
ctypes.CDLL(None).syscall(ctypes.c_long(436), ctypes.c_uint(3), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(0))
import colorsys
print(colorsys.__name__)
