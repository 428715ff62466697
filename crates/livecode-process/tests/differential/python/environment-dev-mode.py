#= env: PYTHONDEVMODE=1
import sys, warnings
print(sys.flags, warnings.filters[:2])
open('main.py')
