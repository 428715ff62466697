#= limit: output_bytes=5000
import sys
for number in range(1000):
    print(number, 'äöü' * 3, file=sys.stderr)
