#= text: # coding: klingon\nprint('never')\n
