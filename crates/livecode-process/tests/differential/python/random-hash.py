#= differs
print(hash('x'), hash(b'x'))
