#= any-temperature
#= env: PYTHONPATH=/work
print('main')
#== encodings.py
print('my own encodings')
raise SystemExit(9)
