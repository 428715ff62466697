#= limit: stack_bytes=1000000
import sys
sys.setrecursionlimit(10**6)
import re
class A:
    def __repr__(self): return repr([self])
print(repr(A()))
