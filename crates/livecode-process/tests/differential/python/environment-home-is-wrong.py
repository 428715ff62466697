#= env: PYTHONHOME=/work/none
#= any-temperature
print('never')
