import timeit
print(timeit.timeit('x', 'x = 1', number=10) < 1)
