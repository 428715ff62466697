import sys
sys.setrecursionlimit(5000)
def f(n):
    return n if n == 0 else f(n - 1)
print(f(4900))
try:
    f(5001)
except RecursionError as error:
    print(error)
