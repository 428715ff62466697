import os
class Noisy:
    def __del__(self, write=os.write):
        write(1, b'gone\n')
__loader__.attached = Noisy()
__loader__.attached.loader = __loader__
