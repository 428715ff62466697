#= text: print(ascii('größe'))\n\n# coding: latin-1\n
