#= text: \x0cprint('form feed')\n\x0c\nprint(2)\n
