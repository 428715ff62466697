import linecache, sys
print(linecache.getline('main.py', 1), linecache.getline(__file__, 3), len(linecache.cache))
# line three
