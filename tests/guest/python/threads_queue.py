"""threading, queue, concurrent.futures, locks, events, timers, thread-local data, the interpreter switching threads."""

import concurrent.futures
import hashlib
import queue
import sys
import threading
import time

work, done = queue.Queue(10), queue.Queue()


def worker():
    while (item := work.get()) is not None:
        done.put((item, hashlib.sha256(b"%d" % item * 100).hexdigest()[:8]))
    done.put(None)


threads = [threading.Thread(target=worker) for _ in range(8)]
for thread in threads:
    thread.start()
for n in range(400):
    work.put(n)
for _ in threads:
    work.put(None)
for thread in threads:
    thread.join()
results = {}
while not done.empty():
    if (result := done.get()) is not None:
        results[result[0]] = result[1]
print("queue", len(results), hashlib.sha256("".join(results[n] for n in range(400)).encode()).hexdigest()[:16])

with concurrent.futures.ThreadPoolExecutor(6) as pool:
    print("pool", sum(pool.map(lambda n: n * n, range(1000))))
    futures = [pool.submit(time.sleep, 0.01) for _ in range(6)]
    finished, waiting = concurrent.futures.wait(futures)
    print("wait", len(finished), len(waiting))

counter, lock = [0], threading.Lock()


def add():
    for _ in range(2000):
        with lock:
            counter[0] += 1


sys.setswitchinterval(1e-4)
threads = [threading.Thread(target=add) for _ in range(10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("lock", counter[0])

# Pure computation in several threads: the interpreter lock changes hands by timeout
spun, stop = [0] * 4, threading.Event()


def spin(n):
    while not stop.is_set():
        spun[n] += 1


threads = [threading.Thread(target=spin, args=(n,)) for n in range(4)]
for thread in threads:
    thread.start()
limit = time.monotonic() + 30
while min(spun) < 100 and time.monotonic() < limit:
    time.sleep(0.01)
stop.set()
for thread in threads:
    thread.join()
print("all ran", min(spun) >= 100)

local = threading.local()
local.value = "main"
seen = []
thread = threading.Thread(target=lambda: seen.append(hasattr(local, "value")))
thread.start()
thread.join()
print("local", seen, local.value)

barrier, passed = threading.Barrier(5), []
threads = [threading.Thread(target=lambda: passed.append(barrier.wait() >= 0)) for _ in range(5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("barrier", passed)
condition, event, ready = threading.Condition(), threading.Event(), []
threading.Timer(0.02, event.set).start()
print("timer", event.wait(30))
with condition:
    print("condition times out", condition.wait(0.01))
start = time.monotonic()
print(
    "lock times out",
    threading.Lock().acquire(timeout=1),
    lock.acquire(),
    lock.acquire(timeout=0.02),
    time.monotonic() - start >= 0.02,
)
print("alive", threading.active_count())
