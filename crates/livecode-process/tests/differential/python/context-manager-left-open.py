import contextlib
@contextlib.contextmanager
def opened():
    print('open')
    try:
        yield
    finally:
        print('close')
keep = opened()
keep.__enter__()
