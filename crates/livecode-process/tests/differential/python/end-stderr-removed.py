import sys
del sys.stderr
print('over')
