from multiprocessing import shared_memory
import os
memory = shared_memory.SharedMemory(create=True, size=100, name='mine')
memory.buf[:3] = b'abc'
print(bytes(memory.buf[:3]), sorted(os.listdir('/dev/shm')))
memory.close()
memory.unlink()
