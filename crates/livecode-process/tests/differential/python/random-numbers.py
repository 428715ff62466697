#= differs
import random
print(random.random(), random.getrandbits(64))
