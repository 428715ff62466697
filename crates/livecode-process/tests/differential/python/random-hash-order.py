#= differs
print({str(n) for n in range(40)})
