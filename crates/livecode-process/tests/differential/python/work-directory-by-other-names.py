import os
print(os.path.samefile('/work', '.'), os.path.realpath('main.py'), os.path.abspath(__file__), os.path.samefile('/proc/self/cwd', '/work'))
