import os
try:
    import fresh
except ImportError as error:
    print(error)
open('fresh.py', 'w').write('VALUE = 1\n')
os.utime('.', (1, 1))
import fresh
print(fresh.VALUE)
