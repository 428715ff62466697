import old
old.f()
#== old.py
import warnings
def f():
    warnings.warn('from a module', DeprecationWarning)
    warnings.warn('to the caller', DeprecationWarning, stacklevel=2)
