#= limit: open_files=30
kept = []
while True:
    kept.append(open('/dev/null'))
