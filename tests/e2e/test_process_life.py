"""Process life as a user sees it: the end of a sandbox, timers that cost nothing, times that hold in clones."""

import resource
import time

import pytest

PYTHON = "/usr/bin/python3.11"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("sleep 100 & sleep 100 & exit 3", 3),
        ("for i in 1 2 3 4 5 6; do sleep 100 & done; exec true", 0),
        ("(exit 1) & (exit 2) & sleep 0.2; exec sh -c 'exit 4'", 4),
        ("sleep 100 & sleep 100 & kill -9 $$", 137),
    ],
)
def test_the_sandbox_ends_with_its_first_program(quark, script, status):
    done = quark("run", "--", "/bin/sh", "-c", script, timeout=30)
    assert (done.status, done.out) == (status, "")


def test_timers_of_cpu_time_cost_nothing_while_everybody_sleeps(quark):
    """An ITIMER_PROF of 1 us once took 70% of a core."""
    code = "import signal, time; signal.setitimer(signal.ITIMER_PROF, 1e-6, 1e-6); signal.signal(27, signal.SIG_IGN); time.sleep(3)"
    assert cpu_of(quark, code) - cpu_of(quark, "import time; time.sleep(3)") < 1


def cpu_of(quark, code):
    """CPU seconds of a run, all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = quark("run", "--", PYTHON, "-c", code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.status == 0, done.err
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


# Each prints by how many seconds it was late. T is in the future for the capture and for the clone.
WALL_CLOCK = """
import ctypes, os, signal, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
T = int(time.time()) + 9
def spec(*values):
    return (ctypes.c_long * len(values))(*values)
def late(what):
    print(what, round(time.time() - T, 1), flush=True)
def semaphore():
    s = ctypes.create_string_buffer(32)
    libc.sem_init(s, 0, 0)
    while libc.sem_timedwait(s, spec(T, 0)) == -1 and ctypes.get_errno() == 4: pass
    late('sem_timedwait')
def sleep():
    libc.clock_nanosleep(0, 1, spec(T, 0), None)
    late('clock_nanosleep')
timer = ctypes.c_void_p()
signal.signal(signal.SIGALRM, lambda *a: late('timer_create'))
libc.timer_create(0, None, ctypes.byref(timer))
libc.timer_settime(timer, 1, spec(0, 0, T, 0), None)
fds = [libc.timerfd_create(0, 0), libc.timerfd_create(0, 0), libc.timerfd_create(7, 0), libc.timerfd_create(1, 0)]
libc.timerfd_settime(fds[0], 1, spec(0, 0, T, 0), None)
libc.timerfd_settime(fds[1], 3, spec(0, 0, T + 1000, 0), None)
libc.timerfd_settime(fds[2], 0, spec(0, 0, 9, 0), None)
libc.timerfd_settime(fds[3], 0, spec(0, 0, 6, 0), None)
threads = [threading.Thread(target=f, daemon=True) for f in (semaphore, sleep)]
for t in threads: t.start()
time.sleep(0.2)
f = os.open('/dev/quark', os.O_RDWR)
os.write(f, b'ready\\n')
start = time.monotonic()
try:
    os.read(fds[1], 8)
except OSError as e:
    print('cancel on set', e.errno, flush=True)
os.read(fds[0], 8)
late('timerfd')
os.read(fds[2], 8)
print('boot time', flush=True)
for t in threads: t.join()
os.read(fds[3], 8)
print('monotonic goes on:', time.monotonic() - start > 4)
"""


def test_absolute_times_of_the_wall_clock_hold_in_a_clone(quark):
    done = quark("snapshot", "create", "s", "--ready-file", "--", PYTHON, "-c", WALL_CLOCK)
    assert done.status == 0, done.err
    time.sleep(5)
    done = quark("run", "--from-snapshot", "s")
    lines = done.out.splitlines()
    assert done.status == 0, done
    assert "cancel on set 125" in lines, done
    assert lines.index("boot time") < lines.index("monotonic goes on: True"), done
    assert "monotonic goes on: True" in lines, done
    for what in ("timerfd", "timer_create", "sem_timedwait", "clock_nanosleep"):
        seconds = [float(line.removeprefix(what)) for line in lines if line.startswith(what + " ")]
        assert len(seconds) == 1, done
        assert -0.1 <= seconds[0] < 3.5, done
