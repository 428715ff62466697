left = [1, 2]
assert left == [1, 3], f'{left} is wrong'
