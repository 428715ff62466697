import atexit
@atexit.register
def ends():
    raise SystemExit(5)
