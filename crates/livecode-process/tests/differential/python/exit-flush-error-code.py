import sys
class Broken:
    encoding = 'utf-8'
    def write(self, text): pass
    def flush(self): raise OSError(5, 'broken flush')
sys.stdout = Broken()
