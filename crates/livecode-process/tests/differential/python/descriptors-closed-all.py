import os
os.closerange(3, 1024)
print('still', 'printing')
import json
print(json.dumps([1]))
