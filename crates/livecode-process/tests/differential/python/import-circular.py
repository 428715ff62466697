import first
#== first.py
import second
VALUE = 1
#== second.py
from first import VALUE
