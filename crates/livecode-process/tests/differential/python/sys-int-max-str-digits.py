import sys
print(sys.get_int_max_str_digits())
try:
    int('1' * 5000)
except ValueError as error:
    print(error)
