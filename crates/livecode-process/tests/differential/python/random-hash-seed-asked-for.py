#= env: PYTHONHASHSEED=7
import sys
print(hash('x'), {str(n) for n in range(10)}, sys.flags.hash_randomization)
