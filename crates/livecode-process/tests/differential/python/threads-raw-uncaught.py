import _thread, time
done = _thread.allocate_lock()
done.acquire()
def work():
    try:
        raise ValueError('raw')
    finally:
        done.release()
_thread.start_new_thread(work, ())
done.acquire()
time.sleep(0.02)
