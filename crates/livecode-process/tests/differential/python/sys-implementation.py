import sys
print(sys.implementation, sys.version, sys.version_info, sys.hexversion, sys.api_version, sys.platform, sys.byteorder)
