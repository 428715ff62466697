import importlib.resources, pkgutil
print(importlib.resources.files('data').joinpath('text.txt').read_text())
print(pkgutil.get_data('data', 'text.txt'), [it.name for it in pkgutil.iter_modules(['.'])])
#== data/__init__.py
#== data/text.txt
from a file
