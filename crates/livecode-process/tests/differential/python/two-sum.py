#= stdin: 4 9\n2 7 11 15\n
n, target = map(int, input().split())
numbers, seen = list(map(int, input().split())), {}
for index, number in enumerate(numbers):
    if target - number in seen:
        print(seen[target - number], index)
    seen[number] = index
