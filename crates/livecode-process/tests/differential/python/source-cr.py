#= text: print('old mac')\rprint('second')\r
