"""Snapshots and clones: captured after initialisation, restored through userfaultfd, each clone an instance of its own."""

import json
import os
import signal
import time
import uuid
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3.11"
BOTH_WAYS = True
READY = """
import json, os
f = os.open('/dev/quark', os.O_RDWR)
os.write(f, b'ready\\n')
doc = json.loads(os.read(f, 65536))
"""


def create(quark, code, name="s", *, trigger=("--ready-file",), options=()):
    done = quark("snapshot", "create", name, *trigger, *options, "--", PYTHON, "-u", "-c", code)
    assert done.status == 0, done.err
    return done


def clone(quark, *options, args=(), name="s", **more):
    done = quark("run", "--from-snapshot", name, *options, "--", *args, **more)
    assert done.status == 0, done
    return done


def test_a_clone_goes_on_from_the_capture_point(quark):
    done = create(quark, "print('warming')\ntable = [i * i for i in range(10 ** 5)]" + READY + "print(table[777])")
    assert "warming" in done.out
    assert "603729" not in done.out
    assert "new to the store" in done.err
    for _ in range(3):
        assert clone(quark).out == "603729\n"


def test_args_env_and_payload(quark):
    create(quark, READY + "print(json.dumps(doc))")
    text = 'quote " backslash \\ newline \n ü'
    done = clone(quark, "--env", "K=a=b", "--payload", text, args=("x", "y z", ""))
    doc = json.loads(done.out)
    assert doc.pop("generation")
    assert doc == {"clone": True, "args": ["x", "y z", ""], "env": {"K": "a=b"}, "payload": text}


def test_a_plain_run_does_not_wait(quark):
    done = quark("run", "--env", "K=V", "--", PYTHON, "-c", READY + "print(doc['clone'], doc['env']['K'])")
    assert done.out == "False V\n", done.err


def test_every_clone_is_somebody_else(quark):
    code = (
        "import mmap, ctypes, random, time\n"
        "m = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "m.madvise(18)\n"  # MADV_WIPEONFORK
        "m[:4] = b'seed'\n"
        "kept = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "kept[:4] = b'kept'\n"
        "boot = open('/proc/sys/kernel/random/boot_id').read()\n"
        "mono = time.monotonic()"
        + READY
        + "print(json.dumps([doc['generation'], os.urandom(16).hex(), m[:4].hex(), kept[:4].hex(), time.time(), time.monotonic() - mono]))"
    )
    create(quark, code)
    time.sleep(1.1)
    seen = [json.loads(clone(quark).out) for _ in range(4)]
    generations, randoms, wiped, kept, wall, mono = zip(*seen, strict=True)
    assert len(set(generations)) == len(set(randoms)) == 4
    assert all(uuid.UUID(g).version == 4 for g in generations)
    assert set(wiped) == {"00000000"}
    assert set(kept) == {b"kept".hex()}
    assert all(abs(t - time.time()) < 30 for t in wall), "the wall clock is right"
    assert all(0 <= m < 1 for m in mono), "CLOCK_MONOTONIC continues from the capture"


def test_ready_log(quark):
    code = "import time\nfor i in range(1000):\n    print('line', i)\n    time.sleep(0.01)"
    done = create(quark, code, trigger=("--ready-log", "line 2[0-9]"))
    last = int(done.out.split()[-1])
    assert 20 <= last < 60
    p = quark.start("run", "--from-snapshot", "s")
    first = int(p.stdout.readline().split()[1])
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=10)
    assert first <= last + 1
    assert first >= 20


def test_ready_after(quark):
    create(
        quark,
        "import time\nt = time.monotonic()\nwhile time.monotonic() < t + 1.5: pass\nprint('end')",
        trigger=("--ready-after", "0.5"),
    )
    started = time.monotonic()
    assert clone(quark).out == "end\n"
    assert time.monotonic() - started < 5


def test_threads_files_and_sockets_survive(quark):
    code = (
        "import threading, queue, socket, sys\n"
        "a, b = socket.socketpair()\n"
        "q, r = queue.Queue(), queue.Queue()\n"
        "def work():\n    while True: r.put(q.get() * 2)\n"
        "threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]\n"
        "[t.start() for t in threads]\n"
        "passwd = open('/etc/passwd')\nfirst = passwd.readline()\n"
        "open('/tmp/made', 'w').write('in memory')\n"
        "a.send(b'in flight')" + READY + "[q.put(i) for i in range(10)]\n"
        "print(sorted(r.get() for _ in range(10)), b.recv(100), passwd.readline() != first, open('/tmp/made').read())\n"
        "print(sys.stdin.read())"
    )
    create(quark, code)
    done = clone(quark, stdin=b"the clone's own input")
    assert done.out == f"{[2 * i for i in range(10)]} b'in flight' True in memory\nthe clone's own input\n"


def test_clones_at_the_same_time(quark):
    create(
        quark,
        "x = bytearray(5_000_000)" + READY + "x[::4096] = b'y' * len(x[::4096])\nprint(doc['args'][0], x.count(b'y'))",
    )
    running = [quark.start("run", "--from-snapshot", "s", "--", str(n)) for n in range(8)]
    for n, p in enumerate(running):
        out, err = p.communicate(timeout=60)
        assert (p.returncode, out) == (0, b"%d 1221\n" % n), err


@pytest.mark.parametrize("prefetch", ["working-set", "none"])
def test_prefetch(quark, prefetch):
    create(quark, "table = list(range(200_000))" + READY + "print(sum(table))")
    for _ in range(3):
        done = clone(quark, "--prefetch", prefetch, "--timing")
        assert done.out == "19999900000\n"
        assert "run to the first output" in done.err


def test_list_show_rm(quark):
    assert "no snapshots" in quark("snapshot", "list").err
    create(quark, READY, "one")
    create(quark, READY, "two")
    assert sorted(i["name"] for i in json.loads(quark("snapshot", "list", "--json").out)) == ["one", "two"]
    shown = json.loads(quark("snapshot", "show", "one", "--json").out)
    assert shown["argv"][0] == PYTHON
    assert shown["pages_total"] > 500
    two = json.loads(quark("snapshot", "show", "two", "--json").out)
    assert two["bytes_stored"] < shown["bytes_stored"], "pages that both have are stored once"
    assert quark("snapshot", "rm", "one").status == 0
    assert [i["name"] for i in json.loads(quark("snapshot", "list", "--json").out)] == ["two"]
    assert clone(quark, name="two").out == ""
    assert quark("snapshot", "rm", "two").status == 0
    packs = list((quark.root / "domains" / "default" / "packs").iterdir())
    assert not packs, "rm collects"


def test_a_killed_pager_ends_its_sandboxes(quark):
    code = "x = bytearray(os.urandom(1 << 20)) * 60\n"
    create(
        quark,
        "import os\n"
        + code
        + READY
        + "print('on')\nimport time\nfor i in range(0, len(x), 4096):\n    x[i]\n    time.sleep(0.001)",
    )
    p = quark.start("run", "--from-snapshot", "s")
    assert p.stdout.readline() == b"on\n"
    pagers = quark.pagers()
    assert len(pagers) == 1
    image_complete = Path(f"/proc/{pagers[0]}/status").exists()
    os.kill(pagers[0], signal.SIGKILL)
    out, err = p.communicate(timeout=20)
    assert image_complete
    assert p.returncode == 67, (p.returncode, out, err)
    assert b"pager" in err
    assert clone(quark, "--prefetch", "none", timeout=120).out == "on\n"


def test_the_first_clone_needs_more_memory_than_the_snapshot_had(quark):
    """What it touches is recorded for the others, which do not have that memory when they start."""
    create(quark, READY + "x = bytearray(b'x' * 80_000_000)\nprint(len(x))")
    for _ in range(3):
        assert clone(quark).out == "80000000\n"
