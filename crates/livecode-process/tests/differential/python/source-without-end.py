#= text: print('no end of line')
