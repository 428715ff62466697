#= stdin: first\nsecond\nthird
print([input(), input('prompt> '), input()])
try:
    input()
except EOFError as error:
    print('EOFError', error)
