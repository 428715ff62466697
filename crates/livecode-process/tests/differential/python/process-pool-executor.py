from concurrent.futures import ProcessPoolExecutor
import os
def square(n): return n * n
if __name__ == '__main__':
    with ProcessPoolExecutor(2) as pool:
        print(list(pool.map(square, range(5))))
