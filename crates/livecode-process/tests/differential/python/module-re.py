import re, sre_compile
print(re.findall(r'(?i)\b(\w)\w*', 'Größe and Other'), re.compile('a+'))
print(re.compile('a|b', re.VERBOSE | re.DEBUG))
