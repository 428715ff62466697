import package.module
#== package/__init__.py
#== package/module.py
from ... import nothing
