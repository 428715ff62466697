#= limit: wall_time_ms=150
#= stdin: abc
import sys, threading
print(sys.stdin.read())
threading.Event().wait()
