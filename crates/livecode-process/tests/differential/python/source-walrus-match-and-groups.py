match [1, {'a': 2}]:
    case [first, {'a': second}] if (total := first + second):
        print(first, second, total)
try:
    raise ExceptionGroup('g', [ValueError(1)])
except* ValueError as group:
    print(group.exceptions)
