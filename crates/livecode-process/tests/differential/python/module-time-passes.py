import time
begin = time.monotonic()
time.sleep(0.01)
print(0.009 < time.monotonic() - begin < 5, time.perf_counter() > 0, time.clock_gettime(time.CLOCK_BOOTTIME) > 0)
