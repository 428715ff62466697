import signal
def handler(number, frame):
    print('alarm', signal.Signals(number).name, frame.f_code.co_name)
    raise TimeoutError
signal.signal(signal.SIGALRM, handler)
print(signal.getitimer(signal.ITIMER_REAL), signal.alarm(0))
signal.setitimer(signal.ITIMER_REAL, 0.01)
try:
    signal.pause()
except TimeoutError:
    print('timed out')
