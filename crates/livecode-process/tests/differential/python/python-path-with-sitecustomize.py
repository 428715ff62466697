#= any-temperature
#= env: PYTHONPATH=/work/lib
import sys
print('main', sys.path[:2], 'sitecustomize' in sys.modules)
#== lib/sitecustomize.py
import sys
print('customized', sys.argv)
