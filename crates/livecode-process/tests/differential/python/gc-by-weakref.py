import weakref
print(weakref.gc.get_freeze_count() if hasattr(weakref, 'gc') else 'weakref has no gc', weakref.getweakrefcount(weakref))
