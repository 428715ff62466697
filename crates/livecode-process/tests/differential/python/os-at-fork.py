import os
os.register_at_fork(before=lambda: print('before'), after_in_parent=lambda: print('parent', os.wait()[1]), after_in_child=lambda: os.write(1, b'child\n'))
pid = os.fork()
if pid == 0: os._exit(0)
print('end')
