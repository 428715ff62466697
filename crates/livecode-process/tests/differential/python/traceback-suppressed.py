try:
    {}['missing']
except KeyError:
    raise RuntimeError('alone') from None
