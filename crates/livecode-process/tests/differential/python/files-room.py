import os
for directory in ('/work', '/tmp', '/', '/etc'):
    room = os.statvfs(directory)
    print(directory, room.f_blocks, room.f_bfree, room.f_files, room.f_ffree, room.f_flag, room.f_namemax, room.f_bsize)
