import broken
#== broken.py
def f(:
    pass
