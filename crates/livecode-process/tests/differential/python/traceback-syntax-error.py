print('never printed')
if True
    print('broken')
