#= env: PYTHONVERBOSE=1
#= any-temperature
import os
os._exit(0)
