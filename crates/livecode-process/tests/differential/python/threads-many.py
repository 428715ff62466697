import threading
total, lock = 0, threading.Lock()
def work():
    global total
    for _ in range(100):
        with lock:
            total += 1
threads = [threading.Thread(target=work) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(total, [thread.name for thread in threads][-1])
