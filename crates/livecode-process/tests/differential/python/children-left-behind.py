import os, time
if os.fork() == 0:
    os.setsid()
    time.sleep(30)
print('main ends at once')
