import hashlib
print(hashlib.sha256(open(__file__, 'rb').read()).hexdigest())
