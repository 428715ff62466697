import codecs, os
class Noisy:
    def __del__(self, write=os.write):
        write(1, b'gone\n')
codecs.IncrementalDecoder.attached = Noisy()
codecs.register(lambda name, keep=Noisy(): None)
