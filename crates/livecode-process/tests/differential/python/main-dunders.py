print(__file__, __name__, __spec__, __cached__ if '__cached__' in globals() else 'no __cached__', __package__, __doc__)
print(type(__loader__), __loader__.name, __loader__.path, __builtins__, __annotations__)
