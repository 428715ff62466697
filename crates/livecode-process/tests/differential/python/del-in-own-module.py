import keeper
print('end')
#== keeper.py
class Noisy:
    def __del__(self, write=__import__('os').write):
        write(1, b'gone ' + self.name)
one, two = Noisy(), Noisy()
one.name, two.name = b'one\n', b'two\n'
two.itself = two
