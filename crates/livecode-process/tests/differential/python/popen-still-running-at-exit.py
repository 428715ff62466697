import subprocess
child = subprocess.Popen(['sleep', '5'])
print('end')
