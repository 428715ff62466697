import outer.inner
print(outer.inner.VALUE, outer.__path__, outer.__spec__.origin)
#== outer/inner.py
VALUE = 1
