import subprocess
child = subprocess.run(['sh', '-c', 'kill -9 $$'])
print(child.returncode)
child.check_returncode()
