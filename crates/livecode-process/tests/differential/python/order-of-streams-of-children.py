import os, subprocess, sys
os.dup2(1, 2)
print('1')
subprocess.run(['echo', '2'])
print('3', end=' ')
os.system('echo 4; echo 5 >&2')
print('6', file=sys.stderr)
subprocess.run([sys.executable, '-c', 'import sys; print(7); print(8, file=sys.stderr)'])
