#= env: PYTHONINSPECT=1
#= stdin: print('interactive', x)\n
x = 1
print('program')
