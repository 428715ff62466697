import os, weakref
class Thing:
    pass
thing = Thing()
reference = weakref.ref(thing, lambda _, write=os.write: write(1, b'callback\n'))
