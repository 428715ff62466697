#= file: damaged.py NAME = '\xff\xfe'\n
import damaged
