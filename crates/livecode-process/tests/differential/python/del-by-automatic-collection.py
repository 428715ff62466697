made = 0
class Noisy:
    def __del__(self):
        global first
        if first is None:
            first = made
first = None
while first is None:
    noisy = Noisy()
    noisy.itself = noisy
    made += 1
print(first)
