#= env: LD_PRELOAD=/work/own.so
#= any-temperature
print('main')
#== own.so
no library at all
