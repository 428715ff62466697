import threading
from concurrent.futures import ThreadPoolExecutor
local = threading.local()
local.value = 'main'
with ThreadPoolExecutor(2) as pool:
    print(list(pool.map(lambda n: (n * n, hasattr(local, 'value'), threading.current_thread().name.rsplit('_')[0]), range(5))))
print(local.value)
