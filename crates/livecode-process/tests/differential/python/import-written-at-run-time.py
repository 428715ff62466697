import importlib, sys
open('fresh.py', 'w').write('VALUE = 1\n')
importlib.invalidate_caches()
import fresh
open('fresh.py', 'w').write('VALUE = 2 # another length\n')
importlib.reload(fresh)
print(fresh.VALUE, fresh.__file__)
