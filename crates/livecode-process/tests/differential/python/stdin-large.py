#= stdin-repeat: 20000 0123456789\n
import sys
data = sys.stdin.read()
print(len(data), data[:11], data.count('\n'))
