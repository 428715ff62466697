#= repeat: 60000 # 0123456789abcdef\n
#= stdin: input\n
print(input(), len(open('main.py').read()))
