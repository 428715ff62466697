import colorsys, this_is_mine
print(colorsys.MINE, colorsys.__file__)
#== colorsys.py
MINE = True
#== this_is_mine.py
import colorsys
assert colorsys.MINE
