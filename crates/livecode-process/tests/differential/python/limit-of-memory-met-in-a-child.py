import os
pid = os.fork()
if pid == 0:
    kept = [bytearray(1 << 20) for _ in range(1000)]
print(os.waitpid(pid, 0)[1])
raise SystemExit(1)
