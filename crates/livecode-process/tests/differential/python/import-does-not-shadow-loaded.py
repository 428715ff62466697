import os, site
print(hasattr(os, 'MINE'), hasattr(site, 'MINE'))
#== os.py
MINE = True
#== site.py
MINE = True
