#= stdin-repeat: 20000 0123456789\n
print('never mind')
