import os, stat
class Noisy:
    def __del__(self, write=os.write):
        write(1, b'gone\n')
noisy = Noisy()
noisy.module = stat
stat.noisy = noisy
del noisy
