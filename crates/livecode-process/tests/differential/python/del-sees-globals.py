import os
class Noisy:
    def __del__(self, write=os.write):
        write(1, ascii((os is None, Noisy is None, len)).encode())
noisy = Noisy()
