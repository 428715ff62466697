import gc
print(gc.get_count()[1:], gc.get_threshold(), gc.isenabled(), gc.get_debug(), gc.get_freeze_count(), gc.garbage, gc.callbacks)
