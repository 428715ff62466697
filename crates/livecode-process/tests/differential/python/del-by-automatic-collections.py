made, seen = 0, []
class Noisy:
    def __del__(self):
        if len(seen) < 60 and (not seen or seen[-1] != made):
            seen.append(made)
while len(seen) < 60:
    noisy = Noisy()
    noisy.itself = noisy
    made += 1
print(seen)
