print(sum(n * n for n in range(300_000)), len(str(3 ** 8000)))
