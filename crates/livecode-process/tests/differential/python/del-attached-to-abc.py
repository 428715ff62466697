import _collections_abc, os
class Noisy:
    def __del__(self, write=os.write):
        write(1, b'gone\n')
_collections_abc.Mapping.register(type('Mine', (), {'attached': Noisy()}))
