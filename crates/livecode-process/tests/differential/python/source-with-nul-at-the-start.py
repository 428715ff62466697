#= text: \x00print('never')\n
