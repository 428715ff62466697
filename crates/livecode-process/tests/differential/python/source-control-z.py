#= text: print(1)\n\x1a\n
