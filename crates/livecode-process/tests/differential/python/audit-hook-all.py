import os, sys
seen = []
sys.addaudithook(lambda event, arguments: seen.append(event) if len(seen) < 200 else None)
import json
import gc
open('/dev/null')
print(seen)
