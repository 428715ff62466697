class Noisy:
    def __del__(self):
        print('gone', self.name)
for number in range(3):
    one, two = Noisy(), Noisy()
    one.other, two.other, one.name, two.name = two, one, f'one {number}', f'two {number}'
print('end')
