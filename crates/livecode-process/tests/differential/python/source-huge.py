#= repeat: 8000 value = 'abcdefgh'\n
print('begin', len(open('main.py').read()))
