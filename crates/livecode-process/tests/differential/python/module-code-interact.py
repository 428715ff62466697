#= stdin: 1 + 1\nx\nfor n in range(2):\n    print(n)\n\nexit()\n
import code
code.interact('welcome', local={'x': 'local'}, exitmsg='bye')
