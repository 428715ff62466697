import os
for pid in sorted(int(name) for name in os.listdir('/proc') if name.isdigit()):
    print(pid, open(f'/proc/{pid}/comm').read(), open(f'/proc/{pid}/cmdline', 'rb').read(), os.stat(f'/proc/{pid}').st_uid)
    for link in ('exe', 'cwd', 'fd/0'):
        try:
            print(os.readlink(f'/proc/{pid}/{link}').split('[')[0])
        except OSError as error:
            print(error.strerror)
