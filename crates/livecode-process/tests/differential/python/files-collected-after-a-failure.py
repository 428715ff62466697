#= collect: a.txt
open('a.txt', 'w').write('text')
raise SystemExit(3)
