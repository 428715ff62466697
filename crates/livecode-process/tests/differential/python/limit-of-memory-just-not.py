#= limit: memory_bytes=40000000
kept = [bytearray(b'x' * (1 << 20)) for _ in range(60)]
print(len(kept))
