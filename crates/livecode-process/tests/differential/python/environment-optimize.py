#= env: PYTHONOPTIMIZE=2
print(__debug__, __doc__)
assert False
