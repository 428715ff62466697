import cProfile, io, pstats
profile = cProfile.Profile()
profile.runcall(sorted, [3, 1])
print(sorted(key[2] for key in pstats.Stats(profile, stream=io.StringIO()).stats))
