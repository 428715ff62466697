import broken
#== broken.py
first = 1
second = first / 0
