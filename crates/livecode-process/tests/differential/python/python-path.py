#= any-temperature
#= env: PYTHONPATH=lib:/work/more
import sys
print(sys.path)
import inlib, inmore
print(inlib.__file__, inmore.__file__)
#== lib/inlib.py
#== more/inmore.py
