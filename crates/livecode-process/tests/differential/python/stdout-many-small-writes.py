import sys
for number in range(3000):
    sys.stdout.write('%d\n' % number)
