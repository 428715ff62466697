import fcntl, os
for number in range(3):
    print(number, oct(fcntl.fcntl(number, fcntl.F_GETFL)), fcntl.fcntl(number, fcntl.F_GETFD), os.get_inheritable(number), os.get_blocking(number), fcntl.fcntl(number, fcntl.F_GETOWN), fcntl.fcntl(number, 1032))
    print([line for line in open(f'/proc/self/fdinfo/{number}').read().splitlines() if not line.startswith(('ino', 'mnt_id'))])
