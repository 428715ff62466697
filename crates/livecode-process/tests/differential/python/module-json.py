import json, sys
json.dump({'a': [1, 2.5, None, True, 'ü']}, sys.stdout, indent=1, ensure_ascii=False)
json.loads('{broken')
