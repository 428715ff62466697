import importlib.abc, importlib.machinery, sys
class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        print('asked for', name, path)
        if name == 'virtual':
            return importlib.machinery.ModuleSpec(name, self)
    def exec_module(self, module):
        module.VALUE = 7
sys.meta_path.insert(0, Finder())
import virtual, colorsys
print(virtual.VALUE)
