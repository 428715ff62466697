import sys
print(sys.getallocatedblocks() // 100)
