"""A bit of everything a warmed Python service does: objects, json, sqlite, threads, asyncio, compression, files, in rounds."""

import asyncio
import hashlib
import json
import queue
import sqlite3
import threading
import zlib

digest = hashlib.sha256()


def note(what, value):
    digest.update(repr((what, value)).encode())


def objects(number):
    tree = {str(n): [n, n * n, {"k": "v" * (n % 50)}] for n in range(800)}
    text = json.dumps(tree, sort_keys=True)
    assert json.loads(text) == tree
    note("json", zlib.crc32(text.encode()) + number)


def database(connection, number):
    with connection:
        connection.executemany(
            "insert into t values (?, ?)", ((number * 1000 + n, "x" * (n % 100)) for n in range(500))
        )
    note("sql", connection.execute("select count(*), sum(length(v)) from t").fetchone())


def threads(number):
    items, results = queue.Queue(8), []

    def work():
        while (item := items.get()) is not None:
            results.append(hashlib.md5(b"%d" % item).hexdigest())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for n in range(200):
        items.put(n + number)
    for _ in workers:
        items.put(None)
    for worker in workers:
        worker.join()
    note("threads", sorted(results))


async def tasks(number):
    async def one(n):
        await asyncio.sleep(0.001 * (n % 4))
        return n * number

    note("tasks", await asyncio.gather(*(one(n) for n in range(40))))


def files(number):
    data = bytes(range(256)) * 100
    with open("log", "ab") as log:
        log.write(zlib.compress(data + b"%d" % number))
    with open("log", "rb") as log:
        note("file", hashlib.sha1(log.read()).hexdigest())


database_connection = sqlite3.connect("store.db")
database_connection.execute("create table t (k integer primary key, v text)")
for round_number in range(16):
    objects(round_number)
    database(database_connection, round_number)
    threads(round_number)
    asyncio.run(tasks(round_number))
    files(round_number)
    print("round", round_number, digest.hexdigest()[:24], flush=True)
