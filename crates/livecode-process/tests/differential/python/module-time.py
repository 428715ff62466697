import time, datetime
print(time.tzname, time.timezone, time.daylight, datetime.datetime.now().astimezone().tzname(), datetime.datetime(2020, 1, 1).timestamp())
print(abs(time.time() - datetime.datetime.now().timestamp()) < 1)
