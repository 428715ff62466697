survivors, made = [], 0
class Noisy:
    def __del__(self):
        print('old one gone after', made)
        done.append(1)
done = []
old = Noisy()
old.itself = old
for _ in range(80_000):
    survivors.append([])
del old
while not done and made < 2_000_000:
    survivors.append([])
    made += 1
    if made % 400_000 == 0:
        del survivors[:]
print(made, bool(done))
