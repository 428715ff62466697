import os
print(os.spawnvp(os.P_WAIT, 'sh', ['sh', '-c', 'echo spawned; exit 5']))
print(os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)[1]))
