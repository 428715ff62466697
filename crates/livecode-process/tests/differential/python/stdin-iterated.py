#= stdin: 1\n2\n\n3
import sys
for line in sys.stdin:
    print(repr(line))
print(repr(sys.stdin.readline()), repr(sys.stdin.read()))
