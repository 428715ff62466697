def f(): pass
print(f.__module__, f.__globals__ is globals(), f.__builtins__ is __builtins__.__dict__, f.__code__.co_filename)
