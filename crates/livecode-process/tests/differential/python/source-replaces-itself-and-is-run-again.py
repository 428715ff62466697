import os, sys
if len(sys.argv) > 1:
    print('unchanged')
else:
    text = open('main.py').read().replace("'un" + "changed'", "'changed'")
    open('main.py', 'w').write(text)
    os.execv(sys.executable, [sys.executable, 'main.py', 'again'])
