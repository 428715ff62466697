#= limit: cpu_time_ms=150
print('begin')
while True: pass
