kept = [[number] for number in range(300_000)]
kept.append(kept)
print(len(kept))
