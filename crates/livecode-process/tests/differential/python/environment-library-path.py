#= env: LD_LIBRARY_PATH=/work/lib
#= any-temperature
import os, subprocess
print(subprocess.run(['true']).returncode)
import sqlite3
#== lib/libsqlite3.so.0
no library at all
