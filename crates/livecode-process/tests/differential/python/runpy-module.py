import runpy, sys
runpy.run_module('package', run_name='__main__', alter_sys=True)
print(sys.argv)
#== package/__init__.py
#== package/__main__.py
import sys
print(__name__, __file__, __package__, sys.argv)
