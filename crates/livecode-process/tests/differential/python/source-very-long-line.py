#= repeat: 40000 x=1;
print('begin')
