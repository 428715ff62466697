def inner(x) = 1 / x
def outer = inner(0)
outer
