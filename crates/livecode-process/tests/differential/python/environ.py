import os
for name, value in os.environ.items():
    print(name, repr(value))
print(os.environb)
