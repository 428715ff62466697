import threading, time
threading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()
print('over')
