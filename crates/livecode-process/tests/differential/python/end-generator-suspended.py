def numbers():
    try:
        yield 1
        yield 2
    finally:
        print('finally')

kept = numbers()
print(next(kept))
