#= limit: open_files=40
kept = []
while True:
    kept.append(open('/dev/null'))
