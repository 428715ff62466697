#= repeat: 8000 value = 'abcdefgh'\n
#= file: later.txt x
import atexit
atexit.register(lambda: 1 / 0)
