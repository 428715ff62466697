#= differs
print(id(object()), id(print))
