import gc
gc.set_debug(gc.DEBUG_SAVEALL)
class A: pass
a = A(); a.a = a; del a
gc.collect()
print([type(it).__name__ for it in gc.garbage])
