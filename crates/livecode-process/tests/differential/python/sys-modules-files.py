import sys
for name, module in sorted(sys.modules.items()):
    print(name, getattr(module, '__file__', None), getattr(module, '__cached__', None), getattr(module, '__package__', None), type(getattr(module, '__loader__', None)).__name__)
