import os, sys
class Noisy:
    def __del__(self, write=os.write):
        write(1, b'gone\n')
sys.modules['attached'] = Noisy()
