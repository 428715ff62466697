import os, sys
sys.addaudithook(lambda event, arguments, write=os.write: write(1, event.encode() + b'\n'))
