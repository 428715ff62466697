import sys
open('native.so', 'wb').write(b'\x7fELF not really')
import native
