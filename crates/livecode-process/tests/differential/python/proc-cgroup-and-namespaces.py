import os
print(open('/proc/self/cgroup').read(), sorted(os.listdir('/proc/self/ns')))
for name in sorted(os.listdir('/proc/self/ns')):
    same = os.readlink(f'/proc/self/ns/{name}') == os.readlink('/proc/self/ns/user')
    print(name, same)
