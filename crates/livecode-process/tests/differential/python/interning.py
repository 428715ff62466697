import sys
print(sys.intern('a b') is 'a b', 'abc' is sys.intern('abc'), 256 is int('256'), () is tuple())
