p GC.count, GC.stat(:total_allocated_objects) / 1000, ObjectSpace.count_objects[:TOTAL] > 0
