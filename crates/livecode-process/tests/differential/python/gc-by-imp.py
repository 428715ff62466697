import _imp, sys
class Spec:
    name, origin, parent, loader, submodule_search_locations = 'gc', 'built-in', '', None, None
gc = _imp.create_builtin(Spec)
_imp.exec_builtin(gc)
print(gc.get_freeze_count(), gc.get_count()[1:], len(gc.get_objects()))
