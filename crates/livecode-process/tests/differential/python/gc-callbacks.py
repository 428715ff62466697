import gc
gc.callbacks.append(lambda phase, info: phase == 'stop' and seen.append((info['generation'], made)))
seen, made, kept = [], 0, []
while len(seen) < 40:
    kept.append([])
    made += 1
print(seen)
