import os
for path in ('main.py', './main.py', '/work/main.py', '/work/../work/main.py', '/proc/self/cwd/main.py'):
    print(path, len(open(path).read()), len(os.read(os.open(path, os.O_RDONLY), 10_000)))
