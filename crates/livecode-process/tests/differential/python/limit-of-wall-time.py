#= limit: wall_time_ms=150
import time
print('begin')
time.sleep(60)
