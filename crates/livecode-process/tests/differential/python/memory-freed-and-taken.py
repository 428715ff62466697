for _ in range(30):
    data = [bytes(1000) for _ in range(20_000)]
print(len(data))
