#= limit: output_bytes=5000
for number in range(1000):
    print(number, 'äöü' * 3)
