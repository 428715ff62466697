import inspect
def f():
    return inspect.stack()
for frame in f():
    print(frame.filename, frame.lineno, frame.function, frame.code_context, frame.index)
