#= differs
import ctypes, os
print(os.getrandom(8), open('/dev/urandom', 'rb').read(8), ctypes.CDLL(None).rand() == 1804289383)
