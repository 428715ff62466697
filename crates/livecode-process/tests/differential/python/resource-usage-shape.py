import os, resource, time
print(len(os.times()), [type(it).__name__ for it in os.times()], len(resource.getrusage(resource.RUSAGE_SELF)), os.times().children_user, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print(0 <= time.process_time() < 5, 0 <= time.thread_time() < 5, time.get_clock_info('process_time'))
