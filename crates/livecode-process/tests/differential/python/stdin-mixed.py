#= stdin: line 1\nline 2\nrest
import os, sys
print(input(), repr(sys.stdin.readline()), os.read(0, 10))
