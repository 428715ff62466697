import bisect, collections, functools, heapq, itertools, operator, statistics
print(heapq.nsmallest(2, [3, 1, 2]), collections.Counter('aab'), functools.reduce(operator.add, [1, 2]), list(itertools.pairwise('abc')), statistics.median([1, 3]), bisect.bisect([1, 2], 1))
