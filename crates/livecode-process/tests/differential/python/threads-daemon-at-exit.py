import threading
print('begin')
threading.Thread(target=threading.Event().wait, daemon=True).start()
print('end')
