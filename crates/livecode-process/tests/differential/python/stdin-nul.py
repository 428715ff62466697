#= stdin: a\x00b\x00\n
print(repr(input()))
