import gc
gc.disable()
print(gc.isenabled())
class A:
    def __del__(self): print('gone at the end')
a = A(); a.a = a; del a
