import threading, time

def go_on():
    while True:
        time.sleep(0.001)

threading.Thread(target=go_on, daemon=True).start()
print('over')
