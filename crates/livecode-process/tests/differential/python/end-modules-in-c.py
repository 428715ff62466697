import _csv, _decimal, _struct, array, bisect, heapq, json, math, select, zlib
kept = [array.array('i', [1]), zlib.compressobj(), select.poll(), _decimal.Decimal(1), math.pi]
print('over')
