#= env: PYTHONMALLOC=debug
import sys
print(sys.flags, sys.getallocatedblocks() > 0)
