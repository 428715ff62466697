import os, subprocess, sys
os.environ['ADDED'] = 'yes'
del os.environ['HOME']
subprocess.run([sys.executable, '-c', 'import os; print(sorted(os.environ.items()))'])
