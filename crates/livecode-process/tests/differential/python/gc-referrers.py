import gc, os
class A: pass
a = A()
holder = {'a': a}
print([type(it).__name__ for it in gc.get_referrers(a)], [type(it).__name__ for it in gc.get_referrers(os._Environ)])
print([type(it).__name__ for it in gc.get_referents(holder)], gc.is_tracked(a), gc.is_tracked(1), gc.is_finalized(a))
