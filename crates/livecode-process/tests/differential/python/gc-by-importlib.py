import importlib.util, sys
spec = importlib.util.find_spec('gc')
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.get_freeze_count(), module.get_count()[1:], len(module.get_objects()), 'gc' in sys.modules)
