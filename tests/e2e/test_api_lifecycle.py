"""Starts and ends of the daemon and of its helpers, in order and by kill -9: nothing is left over, and what can go on goes on."""

import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time

import grpc
import pytest

from quark.snapshot.v1 import sandboxes_pb2 as sb
from quark.snapshot.v1 import snapshots_pb2 as sn

BIG = "a=$(head -c 3000000 /dev/urandom | od); echo ready >/dev/quark; read x; echo ${#a}"
SLEEP = "echo up; while :; do sleep 1; done"


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            ended = f.read().rpartition(")")[2].split()[0] in "ZX"
        return not ended or len(os.listdir(f"/proc/{pid}/task")) > 1  # its first thread is a zombie while others end
    except OSError:
        return False


def gone(pids, until):
    until(lambda: not [p for p in pids if alive(p)], lambda: [p for p in pids if alive(p)], 5)


@pytest.fixture
def until():
    def wait(condition, what, seconds=20):
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s: {what() if callable(what) else what}"
            time.sleep(0.005)
        return value

    return wait


def zygote_of(daemon):
    with open(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children") as f:
        children = [int(pid) for pid in f.read().split()]
    (zygote,) = [p for p in children if b"snapshotd.zygote" in command_line(p)]
    return zygote


def command_line(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read().split(b"\0")


def pager_of(quark):
    (pid,) = quark.pagers()
    return pid


def test_a_second_daemon_is_refused(api):
    command = [sys.executable, "-P", "-m", "snapshotd.daemon", "--root", str(api.daemon.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 45
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("snapshotd: ")
    assert api.run("echo still here").stdout == b"still here\n"


@pytest.mark.parametrize(
    "config",
    ['metrics = "nowhere"', 'metrics = "127.0.0.1:99999"', '[tcp]\nlisten = "127.0.0.1:0"\ncertificate = "/none"\nkey = "/none"\nclient_ca = "/none"'],
)  # fmt: skip
def test_what_cannot_be_listened_on(tmp_path, config):
    """It says so, and ends with everything that it had started."""
    (tmp_path / "snapshotd.toml").write_text(config)
    command = ["--config", str(tmp_path / "snapshotd.toml"), "--root", str(tmp_path / "state")]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "snapshotd.daemon", *command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (81, ""), done
    assert re.fullmatch(r"snapshotd: (metrics|tcp): .*; .*\n", done.stderr), done.stderr


def test_terminate_and_start_again(quark, api, until):
    daemon = api.daemon
    api.create("s", BIG)
    api.warm("s")
    pager, images = pager_of(quark), api.numbers().images
    detached = api.start(SLEEP)
    attached = api.attach(detached)
    attached.until(b"up\n")
    waiting = api.sandboxes.RunSandbox.future(api.request(SLEEP, wait=True), timeout=60)
    until(lambda: len(api.list().sandboxes) == 2, "both run")
    family = daemon.family()
    started = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    with api.failure("UNAVAILABLE") as f:
        waiting.result()
    assert (f.reason, f.exit_code) == ("DaemonLostError", 77)
    assert daemon.process.wait(20) == 0
    assert time.monotonic() - started < 4, "nobody had to wait for the grace"
    gone(family, until)
    assert sorted(p.name for p in (daemon.root / "run").iterdir() if p.is_socket()) == []
    daemon.start()
    assert [s.state for s in api.list(ended=True).sandboxes] == []
    # The pager and what it holds have gone on.
    assert pager_of(quark) == pager
    assert api.numbers().images == images
    assert api.run(clone="s", stdin=b"\n").stdout.strip().isdigit()
    assert api.numbers().faults == 0


def test_a_daemon_that_is_killed_takes_everything_along(quark, api, until):
    daemon = api.daemon
    api.create("s", BIG)
    for request in ({"clone": "s"}, {"code": SLEEP}, {"code": SLEEP, "tty": True}):
        api.start(**request)
    pager, family = pager_of(quark), daemon.family()
    assert len(family) >= 4
    daemon.kill()
    started = time.monotonic()
    gone(family, until)
    assert time.monotonic() - started < 1
    assert pager_of(quark) == pager
    daemon.start()
    assert list(api.list(ended=True).sandboxes) == []
    assert api.run(clone="s", stdin=b"\n").stdout.strip().isdigit()
    assert pager_of(quark) == pager
    assert api.problems() == []


def test_the_zygote_dies(api, until):
    sandbox = api.start(SLEEP)
    waiting = api.sandboxes.WaitSandbox.future(sb.WaitSandboxRequest(id=sandbox), timeout=20)
    family, zygote = api.daemon.family(), zygote_of(api.daemon)
    os.kill(zygote, signal.SIGKILL)
    ended = waiting.result()
    assert (ended.state, ended.exit_status) == (sb.Sandbox.EXITED, 137)
    gone(family, until)
    until(lambda: api.numbers().pool_idle == 2, "the pool is full again")
    assert zygote_of(api.daemon) != zygote
    assert api.run("echo on").stdout == b"on\n"
    assert "the zygote ended" in api.daemon.log.read_text()


def test_workers_die(api, until):
    """An idle one is replaced; a busy one is its sandbox's end, and no other's."""
    until(lambda: api.numbers().pool_idle == 2, "the pool is full")
    zygote = zygote_of(api.daemon)
    idle = [p for p in api.daemon.family() if p != zygote]
    for pid in idle:
        os.kill(pid, signal.SIGKILL)
    gone(idle, until)
    assert api.run("echo on").stdout == b"on\n"
    until(lambda: api.numbers().pool_idle == 2, "the pool is full again")
    idle = set(api.daemon.family())
    one = api.start(SLEEP)
    (busy,) = until(lambda: [p for p in idle if p != zygote and has_job(p)], "a worker has a job")
    other = api.start(SLEEP)
    os.kill(busy, signal.SIGKILL)
    assert api.wait(one).exit_status == 137
    assert api.sandbox(other).state == sb.Sandbox.RUNNING


def has_job(pid):
    """Its standard input is a sandbox's."""
    return os.readlink(f"/proc/{pid}/fd/0").startswith("pipe:")


def test_the_pager_dies(quark, api):
    """A clone that still needs it ends with its error; the next one has a new pager."""
    api.create("s", BIG)
    for pid in quark.pagers():
        os.kill(pid, signal.SIGKILL)
    command = [sys.executable, "-P", "-m", "snapshotd.pager", str(quark.root), "--no-fill"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        time.sleep(0.5)
        sandbox = api.start(clone="s")
        assert p.pid in quark.pagers()
        assert api.sandbox(sandbox).state == sb.Sandbox.RUNNING
        p.kill()
    ended = api.wait(sandbox)
    assert (ended.state, ended.error_reason) == (sb.Sandbox.FAILED, "PagerLostError")
    assert "pager" in ended.error
    assert api.run(clone="s", stdin=b"\n").stdout.strip().isdigit()
    api.warm("s")


def test_a_capture_under_way_when_the_daemon_dies(api, until):
    argv = ["/bin/sh", "-c", "head -c 60000000 /dev/urandom >/tmp/x; echo ready >/dev/quark"]
    request = sn.CreateSnapshotRequest(name="s", spec=sb.SandboxSpec(argv=argv, memory_bytes=256 << 20))
    stream = api.snapshots.CreateSnapshot(request, timeout=60)
    assert any(m.frames_done for m in stream), "it is being stored"
    family = api.daemon.family()
    api.daemon.kill()
    with pytest.raises(grpc.RpcError):
        list(stream)
    gone(family, until)
    api.daemon.start()
    assert api.names() == []
    *_, last = api.snapshots.CheckStore(sn.CheckStoreRequest(), timeout=30)
    leftovers = list(last.problems)
    assert {p.kind for p in leftovers} <= {"leftover"}
    assert api.gc().leftovers == len(leftovers)
    assert api.problems() == []
    api.create("s")


def test_no_more_than_so_many_sandboxes(make_daemon, connect):
    daemon = make_daemon("sandboxes_max = 2\npool = 1")
    api = connect(f"unix:{daemon.socket}", daemon)
    one, _two = api.start(SLEEP), api.start(SLEEP)
    with api.failure("RESOURCE_EXHAUSTED") as f:
        api.start(SLEEP)
    assert (f.reason, f.exit_code) == ("BusyError", 80)
    with api.failure("RESOURCE_EXHAUSTED"):
        api.create("s")
    api.kill(one)
    api.start(SLEEP)


def test_more_at_once_than_the_pool_holds(make_daemon, connect, until):
    daemon = make_daemon("pool = 1")
    api = connect(f"unix:{daemon.socket}", daemon)
    api.create("s", "echo ready >/dev/quark; echo on")
    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: api.run(clone="s"), range(36)))
    assert {a.stdout for a in answers} == {b"on\n"}
    assert len({a.sandbox.generation for a in answers}) == 36
    until(lambda: api.numbers().pool_idle == 1 and len(daemon.family()) == 2, "one idle worker is left")


def test_without_a_pool(make_daemon, connect, until):
    daemon = make_daemon("pool = 0")
    api = connect(f"unix:{daemon.socket}", daemon)
    assert api.run("echo on").stdout == b"on\n"
    until(lambda: daemon.family() == [zygote_of(daemon)], "only the zygote is left")


def test_ended_sandboxes_are_forgotten_in_the_end(make_daemon, connect, until):
    daemon = make_daemon("keep_ended = 3")
    api = connect(f"unix:{daemon.socket}", daemon)
    ids = [api.run(f"exit {n}").sandbox.id for n in range(5)]
    until(lambda: len(api.list(ended=True).sandboxes) == 3, "three are remembered")
    assert [s.id for s in api.list(ended=True).sandboxes] == ids[2:]
    with api.failure("NOT_FOUND") as f:
        api.sandbox(ids[0])
    assert f.reason == "SandboxUnknownError"


def test_the_soft_limit_of_descriptors_is_not_the_daemons(api):
    with open(f"/proc/{api.daemon.process.pid}/limits") as f:
        soft, hard = re.search(r"Max open files\s+(\d+)\s+(\d+)", f.read()).groups()
    assert soft == hard
