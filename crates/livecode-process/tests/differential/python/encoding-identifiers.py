größe = 1
ﬁ = 2
print(größe, fi, sorted(name for name in dir() if not name.startswith('_')))
