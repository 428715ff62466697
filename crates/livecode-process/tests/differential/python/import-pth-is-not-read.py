import sys
print([path for path in sys.path if 'extra' in path])
#== extra.pth
/work/extra
