import atexit, threading
@atexit.register
def late():
    try:
        thread = threading.Thread(target=print, args=('from a late thread',))
        thread.start()
        thread.join()
    except RuntimeError as error:
        print(error)
