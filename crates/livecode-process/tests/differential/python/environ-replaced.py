#= env: HOME=/work
#= env: LANG=C
#= env: PATH=/bin
#= env: TMPDIR=/dev/shm
import locale, os, sys, tempfile
print(sorted(os.environ.items()), tempfile.gettempdir(), os.path.expanduser('~'))
print(sys.stdout.encoding, sys.getfilesystemencoding(), locale.getlocale(), sys.flags.utf8_mode)
