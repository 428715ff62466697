#= repeat: 1 import os\nprint(sorted(os.listdir('.')), len(os.listdir('deep/er')))\n
#= file: deep/er/a 1
#= file: deep/er/b 2
#= file: deep/er/er/er/c 3
#= file: with-dash.py x\n
#= file: größe.py x\n
