import sys, traceback
for frame in sys._current_frames().values():
    traceback.print_stack(frame, file=sys.stdout)
print(sys._current_exceptions().values())
