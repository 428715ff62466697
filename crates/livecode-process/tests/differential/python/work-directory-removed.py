import os
os.chdir('/')
print(sorted(os.listdir('/work')))
os.remove('/work/main.py')
print(os.listdir('/work'))
os.chdir('/work')
os.mkdir('/work/new'); os.chdir('/work/new'); os.rmdir('/work/new')
print(os.path.exists('.'))
os.getcwd()
