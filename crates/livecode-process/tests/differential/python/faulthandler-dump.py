import faulthandler, sys
print(faulthandler.is_enabled())
def f():
    faulthandler.dump_traceback(sys.stdout.fileno(), all_threads=False)
f()
