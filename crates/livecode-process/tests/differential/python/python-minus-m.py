import subprocess, sys
print(subprocess.run([sys.executable, '-m', 'package', 'argument'], capture_output=True, text=True))
print(subprocess.run([sys.executable, '-m', 'json.tool'], input='{"a":1}', capture_output=True, text=True).stdout)
#== package/__init__.py
#== package/__main__.py
import sys
print(__name__, sys.argv, __spec__.name)
