import faulthandler, ctypes, re, sys
faulthandler.enable()
ctypes.string_at(0)
