#= env: PYTHONMALLOC=malloc
import sys
print(sys.getallocatedblocks())
