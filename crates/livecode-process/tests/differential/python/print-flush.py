print('flushed', flush=True, end='')
print(sep='-', *range(5))
print('a', 'b', sep='', end='|')
