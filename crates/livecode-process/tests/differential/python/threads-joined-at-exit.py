import threading
turn = threading.Event()
def work():
    turn.wait()
    print('from the thread, after the end of main')
threading.Thread(target=work).start()
print('main ends')
threading.Timer(0.02, turn.set).start()
