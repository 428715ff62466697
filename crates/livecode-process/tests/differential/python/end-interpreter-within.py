import _xxsubinterpreters as interpreters
kept = interpreters.create()
interpreters.run_string(kept, 'class Said:\n def __del__(self): print("said")\nx = Said()')
print('over')
