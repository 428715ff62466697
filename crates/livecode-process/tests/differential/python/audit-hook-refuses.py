import sys
def hook(event, arguments):
    if event == 'import' and arguments[0] == 'gc':
        raise RuntimeError('no gc')
sys.addaudithook(hook)
import gc
