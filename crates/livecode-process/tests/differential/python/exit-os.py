import atexit, os
atexit.register(print, 'never')
try:
    os._exit(5)
finally:
    print('never either')
