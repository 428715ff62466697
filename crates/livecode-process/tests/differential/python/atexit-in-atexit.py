import atexit
@atexit.register
def first():
    atexit.register(print, 'registered at the end')
    print('first')
