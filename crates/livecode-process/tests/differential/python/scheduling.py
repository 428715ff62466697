import os
print(sorted(os.sched_getaffinity(0)), os.cpu_count(), os.nice(0), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.sched_getparam(0), os.getloadavg() is not None)
