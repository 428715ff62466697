#= env: PYTHONIOENCODING=latin-1:replace
import sys
print(sys.stdout.encoding, sys.stdout.errors, sys.stdin.encoding, sys.stderr.encoding, sys.stderr.errors)
print('größe 数')
