import os
try:
    print(os.setsid())
except OSError as error:
    print(error)
try:
    os.setpgid(0, 0)
except OSError as error:
    print(error)
