import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
try:
    files = [open('/dev/null') for _ in range(10)]
except OSError as error:
    print(error)
