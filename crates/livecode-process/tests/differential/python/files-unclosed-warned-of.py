#= env: PYTHONWARNINGS=default
open('a.txt', 'w').write('x')
keep = open('a.txt')
