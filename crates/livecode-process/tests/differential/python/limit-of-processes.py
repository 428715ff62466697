#= limit: processes=8
import os, time
made = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        made += 1
except OSError as error:
    print(made, error)
    raise
