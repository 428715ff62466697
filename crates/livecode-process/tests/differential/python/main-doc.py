'''The documentation of it all.'''
print(__doc__)
x: int = 3
print(__annotations__, dir())
