class Deep:
    depth = 0
    def __eq__(self, other):
        Deep.depth += 1
        return self == other
try:
    Deep() == 1
except RecursionError:
    print(Deep.depth)
