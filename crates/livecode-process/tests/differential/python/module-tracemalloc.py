import tracemalloc
tracemalloc.start()
kept = [bytes(1000) for _ in range(10)]
statistics = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, '*main.py')]).statistics('lineno')
print(statistics[0].traceback, statistics[0].count >= 10, tracemalloc.get_traceback_limit())
