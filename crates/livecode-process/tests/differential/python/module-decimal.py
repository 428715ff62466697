from decimal import Decimal, getcontext
from fractions import Fraction
print(Decimal(1) / 3, getcontext(), Fraction(3, 6))
