import mmap
memory = mmap.mmap(-1, 4096)
memory[:3] = b'abc'
print(memory[:4], mmap.PAGESIZE)
with open('file', 'w+b') as file:
    file.truncate(100)
    with mmap.mmap(file.fileno(), 0) as memory:
        memory[0] = 65
    print(file.read(2))
