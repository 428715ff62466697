import gc
gc.freeze()
print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 10)
gc.unfreeze()
print(gc.get_freeze_count(), len(gc.get_objects()) > 1000)
