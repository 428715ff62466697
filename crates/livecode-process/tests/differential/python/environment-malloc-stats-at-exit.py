#= env: PYTHONDUMPREFS=1
print('nothing of that')
