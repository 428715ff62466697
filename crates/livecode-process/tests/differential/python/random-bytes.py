#= differs
import os, secrets
print(os.urandom(8), secrets.token_hex(8))
