import enum
class Colour(enum.Flag):
    RED = enum.auto()
    BLUE = enum.auto()
print(Colour.RED | Colour.BLUE, list(Colour), repr(Colour(3)), Colour['RED'].name)
