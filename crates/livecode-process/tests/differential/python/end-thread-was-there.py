import threading
threads = [threading.Thread(target=print, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
    thread.join()
