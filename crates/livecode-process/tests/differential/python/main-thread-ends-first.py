import ctypes, os, threading, time
def work():
    time.sleep(0.02)
    os.write(1, b'the last thread\n')
    os._exit(7)
threading.Thread(target=work).start()
ctypes.CDLL(None).syscall(ctypes.c_long(60), 3)
