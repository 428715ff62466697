#= env: PYTHONUTF8=0
#= env: LC_ALL=C
#= env: PYTHONCOERCECLOCALE=0
import sys, locale
print(sys.stdout.encoding, sys.stdout.errors, sys.getfilesystemencoding(), locale.getpreferredencoding(), sys.flags.utf8_mode)
print(ascii(open('main.py', errors='replace').read()[-3:]))
