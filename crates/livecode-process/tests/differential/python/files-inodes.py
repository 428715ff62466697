import os
print([os.stat(path).st_ino for path in ('/work', '/tmp', '/dev/shm', 'main.py', 'a.txt', 'd', 'd/b.txt')])
#== a.txt
#== d/b.txt
