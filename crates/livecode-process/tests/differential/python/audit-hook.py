import sys
def hook(event, arguments):
    if event in ('import', 'open', 'compile', 'exec', 'os.system', 'object.__setattr__'):
        print(event, [str(it)[:50] for it in arguments if not hasattr(it, 'co_code')])
sys.addaudithook(hook)
import colorsys
open('main.py').close()
exec('1')
