#= env: MALLOC_ARENA_MAX=1
#= env: MALLOC_PERTURB_=3
print('fine')
