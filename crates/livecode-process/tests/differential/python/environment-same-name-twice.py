#= env: _=/bin/true
#= env: PWD=/elsewhere
import os
print(os.environ['_'], os.environ['PWD'], os.getcwd(), os.path.realpath('.'))
