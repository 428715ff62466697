#= differs
import subprocess, sys
print(subprocess.check_output([sys.executable, '-c', 'print(hash("x"))']))
