import sys
main = sys.modules['__main__']
print(main, main.__dict__ is globals(), list(sys.modules)[-5:], list(sys.modules).index('__main__'))
