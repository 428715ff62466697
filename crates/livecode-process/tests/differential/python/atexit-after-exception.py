import atexit
atexit.register(print, 'atexit')
raise ValueError('uncaught')
