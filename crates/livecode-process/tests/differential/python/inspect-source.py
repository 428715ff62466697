import inspect, sys
def f():
    # a comment
    return 1
class C:
    pass
print(inspect.getsource(f), inspect.getsource(C), inspect.getfile(f), inspect.getmodule(f))
print(inspect.getsource(sys.modules['__main__']) == open('main.py').read())
