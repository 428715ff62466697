import subprocess, sys
child = subprocess.run([sys.executable, '-c', '''
import os, sys
print(sys.argv, sys.orig_argv, sys.path, sorted(os.environ), os.getpid() > 2, os.getppid(), sorted(os.listdir('/proc/self/fd')))
'''], capture_output=True, text=True)
print(child)
