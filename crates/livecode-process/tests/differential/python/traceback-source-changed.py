open('main.py', 'w').write('# changed\n' * 10)
raise ValueError('which line is shown?')
