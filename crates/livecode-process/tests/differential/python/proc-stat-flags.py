fields = open('/proc/self/stat').read().rsplit(')', 1)[1].split()
names = {1: 'ppid', 2: 'pgrp', 3: 'session', 4: 'tty', 5: 'tpgid', 6: 'flags', 15: 'priority', 16: 'nice', 17: 'threads', 28: 'pending', 29: 'blocked', 30: 'ignored', 31: 'caught', 35: 'exit signal', 37: 'real-time priority', 38: 'policy'}
for number, name in names.items():
    print(name, fields[number - 0])
