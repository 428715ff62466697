import sys
print(sys.path, sys.meta_path, [getattr(it, '__name__', '?') for it in sys.path_hooks])
print({key: type(value).__name__ for key, value in sys.path_importer_cache.items()})
