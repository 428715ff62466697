for line in open('/proc/self/status'):
    if line.startswith(('VmLck', 'VmPin', 'VmExe', 'VmSwap', 'HugetlbPages')):
        print(line, end='')
