import hashlib
with open('large', 'wb') as file:
    for number in range(200):
        file.write(bytes([number]) * 50_000)
print(hashlib.md5(open('large', 'rb').read()).hexdigest())
