print('a' is 'a', '\d')
assert (1, 'always true')
