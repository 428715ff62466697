#= any-temperature
#= env: LD_BIND_NOW=1
import os
print(os.environ['LD_BIND_NOW'])
