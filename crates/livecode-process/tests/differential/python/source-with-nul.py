#= text: print('before')\nx = 'a\x00b'\n
