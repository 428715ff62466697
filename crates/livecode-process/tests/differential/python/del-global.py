class Noisy:
    def __init__(self, name):
        self.name = name
    def __del__(self):
        print('gone', self.name)
a = Noisy('a')
_b = Noisy('_b')
c = [Noisy('c0'), Noisy('c1')]
d = Noisy('d')
