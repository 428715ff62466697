#= limit: open_files=77
#= limit: stack_bytes=9000000
#= limit: processes=33
#= limit: file_bytes=3000000
#= limit: files=200
import os, resource
for name in ('RLIMIT_NOFILE', 'RLIMIT_STACK', 'RLIMIT_NPROC', 'RLIMIT_FSIZE', 'RLIMIT_DATA', 'RLIMIT_AS'):
    print(name, resource.getrlimit(getattr(resource, name)))
print(os.statvfs('/work').f_blocks, os.statvfs('/work').f_files)
