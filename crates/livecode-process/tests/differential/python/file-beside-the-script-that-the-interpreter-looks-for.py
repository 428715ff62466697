import sys
print(sys.prefix, sys.flags.isolated, len(sys.path))
#== pyvenv.cfg
home = /work
include-system-site-packages = false
#== python311._pth
/work
#== python3
not a program
#== __main__.py
print('never')
#== __init__.py
print('never')
#== __pycache__/main.cpython-311.pyc
damaged
