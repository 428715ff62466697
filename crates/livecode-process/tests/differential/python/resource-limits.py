import resource
for name in sorted(name for name in dir(resource) if name.startswith('RLIMIT_')):
    try:
        print(name, resource.getrlimit(getattr(resource, name)))
    except OSError as error:
        print(name, error)
