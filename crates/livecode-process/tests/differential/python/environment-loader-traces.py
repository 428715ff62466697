#= env: LD_TRACE_LOADED_OBJECTS=1
#= any-temperature
print('never')
