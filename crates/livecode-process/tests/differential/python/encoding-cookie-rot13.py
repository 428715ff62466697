#= text: # coding: rot13\ncevag('uryyb')\n
