import os
print(os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0), os.getpgrp(), os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getgroups(), os.getresuid(), os.getresgid())
print(os.getpgid(1), os.getsid(1))
