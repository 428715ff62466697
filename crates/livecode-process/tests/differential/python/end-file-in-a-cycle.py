#= collect: left.txt
kept = [open('left.txt', 'w')]
kept.append(kept)
kept[0].write('not flushed')
del kept
