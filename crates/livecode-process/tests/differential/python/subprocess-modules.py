import subprocess, sys
print(subprocess.check_output([sys.executable, '-c', 'import sys; print(list(sys.modules), sys.flags)'], text=True))
