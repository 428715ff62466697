import os, sys
def tracer(frame, event, argument, write=os.write):
    write(1, b'%s %s\n' % (event.encode(), frame.f_code.co_name.encode()))
class Late:
    def __del__(self): pass
late = Late()
sys.settrace(tracer)
