import os, subprocess
reading, writing = os.pipe()
print(reading, writing, os.get_inheritable(reading))
print(subprocess.run('ls /proc/self/fd', shell=True, pass_fds=[writing], capture_output=True, text=True).stdout.split())
