#= collect: a.txt
#= collect: b.txt
keep = open('a.txt', 'w')
keep.write('not flushed by us')
open('b.txt', 'w').write('nor this')
cycle = [open('c.txt', 'w')]
cycle.append(cycle)
