import sys, zipfile
with zipfile.ZipFile('lib.zip', 'w') as archive:
    archive.writestr('zipped/__init__.py', 'VALUE = __file__\ndef f(): raise ValueError(1)\n')
sys.path.insert(0, 'lib.zip')
import zipped
print(zipped.VALUE, zipped.__loader__)
zipped.f()
