import weakref

class Kept:
    pass

kept = Kept()
proxy = weakref.proxy(kept, lambda _: print('gone'))
print('over')
