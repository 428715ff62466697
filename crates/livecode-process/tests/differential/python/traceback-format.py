import traceback
try:
    [1][2]
except IndexError:
    print(traceback.format_exc())
    traceback.print_stack(file=__import__('sys').stdout)
