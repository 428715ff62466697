import os
open('a', 'w').close()
os.mkdir('d')
print(oct(os.stat('a').st_mode), oct(os.stat('d').st_mode), os.stat('a').st_uid, os.stat('a').st_gid)
os.chmod('a', 0o755)
open('a', 'w').write('#!/bin/sh\necho executed\n')
print(os.popen('./a').read())
