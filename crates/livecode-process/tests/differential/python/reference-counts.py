import os, sys
print([sys.getrefcount(it) for it in (sys, os, os.environ, os._Environ, sys.modules, sys.stdout, sys.path, __loader__, globals())])
