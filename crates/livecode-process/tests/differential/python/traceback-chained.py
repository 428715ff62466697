try:
    {}['missing']
except KeyError as error:
    raise RuntimeError('second') from error
