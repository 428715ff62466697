#= stdin: größe 数\u{1f600}\r\nsecond\r\n
import sys
print(repr(input()), repr(sys.stdin.read()))
