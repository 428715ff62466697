def f(*arguments):
    raise ValueError


f(
    1,
    2 +
    3,
)
