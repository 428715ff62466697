#= env: TZ=Europe/Berlin
import time, datetime
print(time.tzname, datetime.datetime(2020, 7, 1).timestamp(), time.strftime('%H %Z', time.localtime(0)))
import zoneinfo
try:
    print(datetime.datetime(2020, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin')))
except zoneinfo.ZoneInfoNotFoundError as error:
    print(error)
