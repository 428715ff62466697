import sys
for path, finder in sys.path_importer_cache.items():
    print(path, finder and (finder.path, len(finder._path_cache), finder._path_mtime != -1))
