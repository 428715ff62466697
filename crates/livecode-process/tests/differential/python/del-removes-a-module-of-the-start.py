import os, sys
import stat as kept
class Noisy:
    def __del__(self, write=os.write):
        write(1, b'gone\n')
kept.noisy = Noisy()
del sys.modules['stat'], kept, os.st
print('end')
