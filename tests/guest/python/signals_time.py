"""signal and time: handlers in the main thread, EINTR retried, itimers, wakeup descriptors, sigwait, sleeps, faulthandler."""

import faulthandler
import os
import select
import signal
import threading
import time

seen = []
signal.signal(signal.SIGUSR1, lambda number, _: seen.append(signal.Signals(number).name))
os.kill(os.getpid(), signal.SIGUSR1)
signal.raise_signal(signal.SIGUSR1)
print("handlers", seen)

ticks = []
signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
start = time.monotonic()
time.sleep(0.06)  # interrupted many times, sleeps to the end all the same
print("sleep", time.monotonic() - start >= 0.06, len(ticks) >= 3)
total = sum(n * n for n in range(200000))
signal.setitimer(signal.ITIMER_REAL, 0)
print("computed", total)


class AlarmError(Exception):
    pass


def alarm(*_):
    raise AlarmError


signal.signal(signal.SIGALRM, alarm)
read_end, write_end = os.pipe()
signal.setitimer(signal.ITIMER_REAL, 0.02)
try:
    os.read(read_end, 1)
except AlarmError:
    print("raised out of read")
signal.setitimer(signal.ITIMER_REAL, 0.02)
try:
    while True:
        pass
except AlarmError:
    print("raised out of a loop")

os.set_blocking(write_end, False)
signal.set_wakeup_fd(write_end)
signal.signal(signal.SIGUSR2, lambda *_: None)
threading.Timer(0.02, lambda: os.kill(os.getpid(), signal.SIGUSR2)).start()
print(
    "wakeup", select.select([read_end], [], [], 30)[0] == [read_end], os.read(read_end, 10) == bytes([signal.SIGUSR2])
)
signal.set_wakeup_fd(-1)

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(os.getpid(), signal.SIGUSR1)
print("pending", signal.sigpending(), "count", len(seen))
print("sigwait", signal.sigwait([signal.SIGUSR1]).name)
print("sigtimedwait", signal.sigtimedwait([signal.SIGUSR1], 0.01))
os.kill(os.getpid(), signal.SIGUSR1)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
print("unblocked", len(seen))
thread_seen = []
thread = threading.Thread(target=lambda: thread_seen.append(signal.sigwait([signal.SIGTERM])))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
thread.start()
signal.pthread_kill(thread.ident, signal.SIGTERM)
thread.join()
print("thread", thread_seen[0].name)
try:
    signal.signal(signal.SIGKILL, alarm)
except OSError as error:
    print("SIGKILL", error.errno)

clocks = [time.monotonic_ns(), time.perf_counter_ns(), time.time_ns(), time.process_time_ns(), time.thread_time_ns()]
time.sleep(0.01)
after = [time.monotonic_ns(), time.perf_counter_ns(), time.time_ns(), time.process_time_ns(), time.thread_time_ns()]
print(
    "clocks",
    [b - a >= 10_000_000 for a, b in zip(clocks[:2], after[:2], strict=True)],
    all(b >= a for a, b in zip(clocks, after, strict=True)),
)
print("localtime", time.tzname[0], time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1_000_000_000)))
faulthandler.enable()
print("before the fault", flush=True)
os.close(2)
os.kill(os.getpid(), signal.SIGSEGV)
