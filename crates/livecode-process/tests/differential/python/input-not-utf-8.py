#= stdin: \xff\xfe\x00abc\n
import sys
print(repr(sys.stdin.errors), ascii(sys.stdin.read()))
