#= collect: left.txt
kept = open('left.txt', 'w')
kept.write('not flushed')
print('over')
