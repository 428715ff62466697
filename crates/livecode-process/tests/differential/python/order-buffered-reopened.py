import os, sys
os.dup2(1, 2)
out = open(1, 'w', closefd=False)
out.write('1 buffered\n')
print('2 not')
os.write(1, b'3 written\n')
out.flush()
