import os
descriptor = os.open('/dev/null', os.O_RDONLY)
print(descriptor)
for number in range(3, 64):
    try:
        print(number, os.fstat(number).st_size)
    except OSError:
        pass
