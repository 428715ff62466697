#= stdin: abc
import sys
for action in (lambda: sys.stdin.seek(0), lambda: sys.stdin.tell(), lambda: sys.stdin.buffer.seek(0), lambda: sys.stdin.write('x')):
    try:
        print(action())
    except OSError as error:
        print(type(error).__name__, error)
