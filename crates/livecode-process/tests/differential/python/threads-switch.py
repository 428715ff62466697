import sys, threading
sys.setswitchinterval(1e-4)
count = [0]
def work():
    while count[0] < 50_000: count[0] += 1
threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(count[0] >= 50_000)
