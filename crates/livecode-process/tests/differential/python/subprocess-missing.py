import subprocess
subprocess.run(['not-there-at-all'])
