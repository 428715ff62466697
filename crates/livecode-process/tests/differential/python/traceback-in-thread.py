import threading
def work():
    raise OSError(2, 'gone', 'somewhere')
thread = threading.Thread(target=work, name='worker')
thread.start()
thread.join()
print('main goes on')
