import os, sys, weakref
class Thing: pass
thing = Thing()
def profiler(frame, event, argument, write=os.write):
    write(1, f'{event} {frame.f_code.co_name} {os.path.basename(frame.f_code.co_filename)}\n'.encode())
import atexit
atexit.register(sys.setprofile, None)
sys.setprofile(profiler)
len('x')
