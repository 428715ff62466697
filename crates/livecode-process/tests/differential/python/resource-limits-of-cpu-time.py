#= limit: cpu_time_ms=2500
import resource
print(resource.getrlimit(resource.RLIMIT_CPU))
