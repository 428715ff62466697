import ctypes
setlocale = ctypes.CDLL(None).setlocale
setlocale.restype = ctypes.c_char_p
print([setlocale(category, None) for category in range(13)])
nl_langinfo = ctypes.CDLL(None).nl_langinfo
nl_langinfo.restype = ctypes.c_char_p
print(nl_langinfo(14))
