#= collect: left.db
#= collect: left.db-journal
import os, sqlite3
kept = sqlite3.connect('left.db')
kept.execute('create table t (x)')
kept.execute('insert into t values (1)')
kept.commit()
kept.execute('insert into t values (2)')
print(sorted(os.listdir()))
