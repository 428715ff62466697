import os, time
status = os.stat('main.py')
print(0 <= time.time() - status.st_mtime < 60, status.st_mtime <= time.time(), status.st_atime_ns >= 0, abs(time.time() - os.stat('/work').st_mtime) < 60)
