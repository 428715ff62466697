import subprocess
print(subprocess.run('cat /proc/self/maps | grep -o "/.*" | sort -u', shell=True, capture_output=True, text=True).stdout)
