import sys
nested = []
for _ in range(100_000):
    nested = [nested]
try:
    repr(nested)
except RecursionError as error:
    print(error)
try:
    compile('(' * 300 + ')' * 300, 'x', 'eval')
except (SyntaxError, MemoryError, RecursionError) as error:
    print(type(error).__name__, error)
