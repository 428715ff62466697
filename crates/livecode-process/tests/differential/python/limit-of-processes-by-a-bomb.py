#= limit: processes=12
#= limit: wall_time_ms=5000
import os, time
while True:
    try:
        os.fork()
    except OSError:
        break
if os.getpid() != 2:
    time.sleep(5)
os._exit(1)
