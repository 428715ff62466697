class A: pass
for _ in range(10):
    a = A()
    a.a = a
del a
import gc
print(gc.collect(), gc.get_stats()[2])
