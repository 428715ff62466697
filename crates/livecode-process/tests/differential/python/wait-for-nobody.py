import os
for call in (os.wait, lambda: os.waitpid(-1, os.WNOHANG), lambda: os.waitid(os.P_ALL, 0, os.WEXITED)):
    try:
        print(call())
    except ChildProcessError as error:
        print(error)
