import ctypes
print('over', flush=True)
print(ctypes.pythonapi.Py_FinalizeEx())
