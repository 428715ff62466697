from answers import *
print(sorted(name for name in dir() if not name.startswith('__')))
#== answers.py
__all__ = ['a', 'c']
a = b = c = 1
