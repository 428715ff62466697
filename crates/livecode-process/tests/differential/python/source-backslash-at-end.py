#= text: print(1)\nx = 1 + \\
