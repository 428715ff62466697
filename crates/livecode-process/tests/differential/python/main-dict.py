print({name: type(value).__name__ for name, value in list(globals().items())})
print({name: repr(value) for name, value in list(globals().items()) if name not in ('__loader__', '__builtins__')})
