#= stdin: p error\nw\nq\n
import pdb
try:
    1 / 0
except ZeroDivisionError as error:
    pdb.post_mortem()
