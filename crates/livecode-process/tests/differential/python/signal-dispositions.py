import signal
for number in sorted(signal.valid_signals()):
    try:
        print(int(number), signal.getsignal(number))
    except ValueError as error:
        print(number, error)
