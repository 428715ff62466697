import atexit
for number in range(3):
    atexit.register(print, 'handler', number)
print(atexit._ncallbacks())
