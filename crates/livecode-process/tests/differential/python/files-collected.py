#= collect: a.txt
#= collect: d/b.bin
#= collect: missing
#= collect: link
#= collect: main.py
import os
open('a.txt', 'w').write('text')
os.mkdir('d')
open('d/b.bin', 'wb').write(bytes(range(256)))
os.symlink('a.txt', 'link')
