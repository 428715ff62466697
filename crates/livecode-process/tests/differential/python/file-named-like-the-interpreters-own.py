print('fine')
import encodings, io, abc
print(encodings.__file__ != '/work/encodings.py', hasattr(io, 'MINE'))
#== encodings.py
MINE = 1
#== io.py
MINE = 1
#== abc.py
MINE = 1
#== _bootlocale.py
raise SystemExit
#== usercustomize.py
print('never')
