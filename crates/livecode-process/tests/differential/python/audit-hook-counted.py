import _ctypes, sys
print(sys.addaudithook(lambda *it: None), sys.audit('mine', 1))
