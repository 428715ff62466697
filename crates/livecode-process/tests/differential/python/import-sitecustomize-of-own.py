import sys
print('sitecustomize' in sys.modules and sys.modules['sitecustomize'].__file__)
import sitecustomize
print(sitecustomize.__file__)
#== sitecustomize.py
print('own sitecustomize')
#== usercustomize.py
print('own usercustomize')
