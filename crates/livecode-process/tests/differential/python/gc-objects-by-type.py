import gc
from collections import Counter
print(sorted(Counter(type(it).__name__ for it in gc.get_objects()).items()))
