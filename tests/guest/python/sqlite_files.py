"""sqlite3: in memory and in a file, journals and write-ahead log, transactions, several connections, threads, errors."""

import os
import sqlite3
import threading

memory = sqlite3.connect(":memory:")
memory.execute("create table t (id integer primary key, name text, value real)")
memory.executemany("insert into t (name, value) values (?, ?)", ((f"row{n}", n * 1.5) for n in range(5000)))
print("memory", memory.execute("select count(*), sum(value), max(name) from t").fetchone())
memory.execute("create index by_name on t (name)")
print("plan", memory.execute("explain query plan select * from t where name = 'row7'").fetchone()[3])
print("window", memory.execute("select id, sum(value) over (order by id) from t limit 1 offset 99").fetchone())
memory.create_function("twice", 1, lambda x: x * 2)
print("function", memory.execute("select twice(21)").fetchone())

for mode in ("delete", "wal", "truncate"):
    name = f"{mode}.db"
    one = sqlite3.connect(name, isolation_level=None)
    two = sqlite3.connect(name, isolation_level=None, timeout=0)
    print(mode, one.execute(f"pragma journal_mode={mode}").fetchone())
    one.execute("create table t (k integer primary key, v blob)")
    one.execute("begin immediate")
    one.executemany("insert into t values (?, ?)", ((n, os.urandom(50)) for n in range(1000)))
    print(" uncommitted seen by other", two.execute("select count(*) from sqlite_master").fetchone()[0] >= 0)
    try:
        two.execute("begin immediate")
    except sqlite3.OperationalError as error:
        print(" locked:", error)
    one.execute("commit")
    print(" committed", two.execute("select count(*), sum(length(v)) from t").fetchone())
    one.execute("begin")
    one.execute("delete from t where k % 2 = 0")
    one.execute("rollback")
    print(" rolled back", one.execute("select count(*) from t").fetchone())
    one.execute("vacuum")
    print(" integrity", one.execute("pragma integrity_check").fetchone())
    one.close()
    two.close()
    again = sqlite3.connect(name)
    print(" reopened", again.execute("select min(k), max(k) from t").fetchone())
    again.close()
print("files", sorted(entry for entry in os.listdir() if ".db" in entry))


def add(worker):
    connection = sqlite3.connect("delete.db", timeout=60)
    for n in range(20):
        with connection:
            connection.execute("insert into t values (?, ?)", (100000 + worker * 100 + n, b"x"))
    connection.close()


threads = [threading.Thread(target=add, args=(worker,)) for worker in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
final = sqlite3.connect("delete.db")
print("threads", final.execute("select count(*) from t where k >= 100000").fetchone())
try:
    final.execute("insert into t values (100000, null)")
except sqlite3.IntegrityError as error:
    print("integrity error:", error)
