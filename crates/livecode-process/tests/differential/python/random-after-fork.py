#= differs
import os, random
pid = os.fork()
if pid: os.waitpid(pid, 0)
print(random.random())
