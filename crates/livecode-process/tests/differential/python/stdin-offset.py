#= stdin: abc
import os
print([line for line in open('/proc/self/fdinfo/0').read().splitlines() if line.startswith(('pos', 'flags'))], os.isatty(0))
