#= stdin: hello
print(open(0).read(), open('/proc/self/fd/0').read())
