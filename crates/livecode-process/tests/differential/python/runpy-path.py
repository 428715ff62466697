import runpy
result = runpy.run_path('other.py', run_name='other')
print(result['NAME'], sorted(name for name in result if name.startswith('__')))
#== other.py
import sys
NAME = __name__
print(__file__, sys.argv)
