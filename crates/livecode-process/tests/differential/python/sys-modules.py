import sys
print(list(sys.modules))
print([name for name, module in sys.modules.items() if getattr(module, '__file__', None)])
