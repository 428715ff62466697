import platform, socket, os
print(platform.node(), platform.system(), platform.python_build(), platform.architecture(), platform.libc_ver(), platform.python_implementation())
print(socket.gethostname(), os.uname().nodename, os.uname().sysname)
