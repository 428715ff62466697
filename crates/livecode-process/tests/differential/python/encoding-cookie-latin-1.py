#= text: # -*- coding: latin-1 -*-\nprint('größe', len('größe'), ascii('größe'))\n
