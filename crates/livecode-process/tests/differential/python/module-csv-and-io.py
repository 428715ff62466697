import csv, io, sys
csv.writer(sys.stdout).writerows([[1, 'a,b'], ['"', None]])
print(list(csv.DictReader(io.StringIO('a,b\n1,2\n'))))
