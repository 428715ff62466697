import _thread, time
lock = _thread.allocate_lock()
lock.acquire()
def work():
    print('raw', _thread._count())
    lock.release()
_thread.start_new_thread(work, ())
lock.acquire()
print(_thread.stack_size())
