print('before')
raise ValueError('at the top')
