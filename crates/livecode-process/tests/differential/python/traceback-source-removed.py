import os
os.remove('main.py')
raise ValueError('no line is shown')
