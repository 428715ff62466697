#= env: PYTHONTRACEMALLOC=5
import tracemalloc
print(tracemalloc.is_tracing(), tracemalloc.get_traceback_limit(), tracemalloc.get_object_traceback(tracemalloc) is not None)
