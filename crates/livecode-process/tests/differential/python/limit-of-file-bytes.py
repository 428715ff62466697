#= limit: file_bytes=1000000
with open('large', 'wb') as file:
    while True: file.write(bytes(100_000))
