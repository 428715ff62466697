#= text: # coding: cp437\nprint(ascii('größe'))\nimport sys\nprint('encodings.cp437' in sys.modules)\n
