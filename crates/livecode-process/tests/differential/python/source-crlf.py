#= text: if True:\r\n    print('windows', '''a\r\nb''' == 'a\\nb')\r\n
