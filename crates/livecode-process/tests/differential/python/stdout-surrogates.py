import sys
print('\udcff'.encode('utf-8', 'surrogateescape'))
print('lone', '\udcff', file=sys.stderr)
print('lone', '\udcff')
