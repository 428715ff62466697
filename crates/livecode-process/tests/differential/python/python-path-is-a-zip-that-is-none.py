#= any-temperature
#= env: PYTHONPATH=/work/none.zip
import sys
print(sys.path, sorted(sys.path_importer_cache))
#== none.zip
no zip at all
