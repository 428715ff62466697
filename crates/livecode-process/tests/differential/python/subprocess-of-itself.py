import subprocess, sys
if len(sys.argv) == 1:
    print(subprocess.run([sys.executable, '-s', '-u', '-B', 'main.py', 'child'], capture_output=True, text=True))
else:
    print(sys.argv, sys.orig_argv, sys.flags, __file__)
