import latin
print(ascii(latin.NAME))
import damaged
#== latin.py
# coding: latin-1
NAME = 'größe'
#== damaged.py
# coding: ascii
NAME = 'größe'
