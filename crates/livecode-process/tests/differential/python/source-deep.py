#= text: print((((((((((((((((((((1))))))))))))))))))))\nif 1:\n if 1:\n  if 1:\n   print('deep')\n
