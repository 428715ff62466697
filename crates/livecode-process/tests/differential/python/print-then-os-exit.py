import os
print('printed and not lost')
print('no end of line', end='')
os._exit(3)
