"""What one caller, or one process, does slowly, badly or not at all is not the others' trouble."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

from quark.snapshot.v1 import snapshots_pb2 as sn

NOISE = "a=$(head -c 6000000 /dev/urandom | od); echo ready >/dev/quark; read x; echo ${#a}"
SLEEP = "echo up; while :; do sleep 1; done"


def threads(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/task"))


def test_exports_that_nobody_reads(api):
    """Each holds a stream open without taking what comes; everything else goes on, and they end when they are given up."""
    api.create("s", NOISE)
    whole = api.export("s")
    assert len(whole) > 5_000_000
    streams = [api.snapshots.ExportSnapshot(sn.ExportSnapshotRequest(name="s"), timeout=100) for _ in range(40)]
    for stream in streams:
        next(stream)
    started = time.monotonic()
    assert api.names() == ["s"]
    assert api.run(clone="s", stdin=b"\n").stdout.strip().isdigit()
    assert api.import_(whole, name="t").name == "t"
    assert time.monotonic() - started < 10
    for stream in streams[1:]:
        stream.cancel()
    rest = b"".join(m.data for m in streams[0])
    assert whole.endswith(rest)
    assert len(rest) > len(whole) // 2
    api.delete("s")
    api.collect()


def test_imports_that_never_go_on(api, connect):
    """Forty streams that begin and then say nothing."""
    api.create("s")
    whole = api.export("s")
    hold = [connect(api.target) for _ in range(4)]
    blocked, streams = [], []
    try:
        for i in range(40):
            reader, writer = os.pipe()
            blocked.append(writer)

            def requests(i=i, reader=reader):
                yield sn.ImportSnapshotRequest(name=f"i{i}", data=whole[:1000])
                os.read(reader, 1)
                os.close(reader)

            streams.append(hold[i % 4].snapshots.ImportSnapshot.future(requests(), timeout=100))
        time.sleep(0.5)
        started = time.monotonic()
        assert api.names() == ["s"]
        assert api.import_(whole, name="t").name == "t"
        assert time.monotonic() - started < 5
    finally:
        for writer in blocked:
            os.close(writer)
    for stream in streams:
        with api.failure("DATA_LOSS") as f:
            stream.result()
        assert f.reason == "CorruptStreamError"
    assert api.names() == ["s", "t"]
    assert api.problems() == []


def test_a_key_that_is_slow_to_come(make_daemon, connect, tmp_path):
    """One domain waits for it, the other does not."""
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    daemon = make_daemon(f'[[domains]]\nname = "slow"\nkey = "command:sleep 3; cat {key}"\n')
    api = connect(f"unix:{daemon.socket}", daemon)
    slow = [
        api.snapshots.ListSnapshots.future(
            sn.ListSnapshotsRequest(), metadata=(("quark-domain", "slow"),), timeout=30
        )
        for _ in range(30)
    ]  # fmt: skip
    time.sleep(0.3)
    started = time.monotonic()
    api.create("s")
    assert api.names() == ["s"]
    api.numbers()
    assert time.monotonic() - started < 2
    assert not any(s.done() for s in slow)
    assert [list(s.result().snapshots) for s in slow] == [[]] * 30


def ask(quark, *fields):
    """A connection to the pager with one request sent."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(str(quark.root / "run" / "default" / "pager.sock"))
        sock.send("\0".join(fields).encode())
    except OSError:
        sock.close()
        raise
    return sock


def test_the_pager_outlives_clones_that_do_not_listen(quark, api):
    """Its answers go nowhere: that is no reason to take the other clones along."""
    api.create("s", NOISE)
    with pager(quark, "--no-fill") as process:
        running = api.start(clone="s", stdin=b"")
        attached = api.attach(running)
        for _ in range(20):
            process.send_signal(signal.SIGSTOP)
            for fields in (("attach", "none"), ("attach", "s"), ("prefetch",), ("totals",), ("warm", "none"), ("x",), ("uffd", "0")):  # fmt: skip
                ask(quark, *fields).close()
            clone = ask(quark, "attach", "s")
            clone.send(b"prefetch")
            clone.close()
            process.send_signal(signal.SIGCONT)
            with ask(quark, "totals") as sock:
                sock.settimeout(20)
                assert sock.recv(100).startswith(b"ok\0")
        attached.send(stdin=b"\n")
        attached.until(b"\n")
        assert process.poll() is None
        assert attached.rest() == b""
        assert attached.ended.exit_status == 0


@contextlib.contextmanager
def pager(quark, *options):
    for pid in quark.pagers():
        os.kill(pid, signal.SIGKILL)
    command = [sys.executable, "-P", "-m", "snapshotd.pager", str(quark.root), *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        deadline = time.monotonic() + 10
        while True:
            try:
                ask(quark, "totals").close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        try:
            yield p
        finally:
            p.terminate()


def test_a_pager_that_nobody_needs_ends(quark, api):
    """The daemon's questions do not keep it; a warm image, and a clone, do."""
    api.create("s", "echo ready >/dev/quark; read x; echo on")
    with pager(quark, "--idle", "1") as process:
        api.warm("s")
        time.sleep(2)
        assert process.poll() is None
        running = api.start(clone="s")
        api.snapshots.CoolSnapshot(sn.CoolSnapshotRequest(name="s"), timeout=20)
        time.sleep(2)
        assert process.poll() is None
        api.kill(running)
        deadline = time.monotonic() + 10
        while process.poll() is None:
            api.numbers()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert process.returncode == 0
    assert api.numbers().images == 0
    assert api.run(clone="s", stdin=b"\n").stdout == b"on\n"


def test_a_working_set_is_of_its_own_snapshot(api):
    """The first clone ends when its snapshot was replaced by another: what it recorded is not the new one's."""
    api.create("s", "echo ready >/dev/quark; echo on; read x")
    running = api.start(clone="s")
    api.attach(running).until(b"on\n")
    api.delete("s")
    again = api.create("s", NOISE)
    attached = api.attach(running)
    attached.send(stdin=b"\n")
    while attached.ended is None:
        attached.step()
    time.sleep(0.3)
    now = api.get("s")
    assert now.id == again.id
    assert not now.working_set
    assert api.run(clone="s", stdin=b"\n").stdout.strip().isdigit()
