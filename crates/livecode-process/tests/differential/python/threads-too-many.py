#= limit: processes=10
import threading
stop, threads = threading.Event(), []
try:
    for _ in range(30):
        threads.append(threading.Thread(target=stop.wait))
        threads[-1].start()
except RuntimeError as error:
    print(len(threads), error)
finally:
    stop.set()
raise SystemExit(1)
