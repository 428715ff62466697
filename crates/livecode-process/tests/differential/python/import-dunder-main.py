import __main__
__main__.set_from_outside = 5
print(set_from_outside)
