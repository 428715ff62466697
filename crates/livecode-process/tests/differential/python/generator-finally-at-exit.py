def numbers():
    try:
        yield 1
        yield 2
    finally:
        print('finally of the generator')
running = numbers()
print(next(running))
