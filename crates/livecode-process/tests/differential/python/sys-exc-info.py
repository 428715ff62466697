import sys
print(sys.exc_info())
try:
    1 / 0
except ZeroDivisionError:
    print(sys.exc_info()[:2], sys.exc_info()[2].tb_lineno)
