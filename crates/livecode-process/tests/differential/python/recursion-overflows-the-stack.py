import sys, threading
sys.setrecursionlimit(10**8)
class A:
    def __getattr__(self, name):
        return getattr(self, name + 'x'[:0])
A().x
