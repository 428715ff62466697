import os, stat
for directory in ('/work', '/tmp', '/dev/shm'):
    print(directory, sorted(os.listdir(directory)), oct(os.stat(directory).st_mode), os.stat(directory).st_uid, os.stat(directory).st_nlink, os.access(directory, os.W_OK))
status = os.stat('main.py')
print(oct(status.st_mode), status.st_uid, status.st_gid, status.st_size, status.st_nlink)
