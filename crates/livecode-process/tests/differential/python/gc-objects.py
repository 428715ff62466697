import gc
objects = gc.get_objects()
print(len(objects), [len(gc.get_objects(generation)) for generation in range(3)])
