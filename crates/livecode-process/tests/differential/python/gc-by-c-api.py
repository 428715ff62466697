import ctypes
print(ctypes.pythonapi.PyGC_IsEnabled(), ctypes.pythonapi.PyGC_Collect())
