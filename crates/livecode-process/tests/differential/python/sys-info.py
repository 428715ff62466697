import sys
print(sys.thread_info, sys.int_info, sys.float_info, sys.hash_info, sys.float_repr_style, sys.maxunicode, sys.maxsize)
print(sys.getswitchinterval(), sys.getrecursionlimit(), sys.getdlopenflags(), sys.abiflags, sys.platlibdir)
