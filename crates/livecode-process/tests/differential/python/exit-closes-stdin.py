#= stdin: rest
import sys
try:
    quit()
except SystemExit:
    print(sys.stdin.closed)
