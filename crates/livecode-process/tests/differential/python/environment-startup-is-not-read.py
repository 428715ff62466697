#= any-temperature
#= env: PYTHONSTARTUP=/work/start.py
print('main')
#== start.py
print('never')
