import __main__
print(repr(__main__), dir(__main__))
