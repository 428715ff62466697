for line in open('/proc/self/status'):
    if line.startswith('VmLib'):
        print(line, end='')
