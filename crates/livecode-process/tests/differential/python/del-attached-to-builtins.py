import builtins, os
class Noisy:
    def __del__(self, write=os.write):
        write(1, b'gone\n')
builtins.attached = Noisy()
