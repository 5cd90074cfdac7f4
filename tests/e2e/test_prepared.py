"""Clones of prepared machines: as any other clone, however long they waited; and nothing of them is left when there is no use for them."""

import concurrent.futures
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from quark.snapshot.v1 import sandboxes_pb2 as sb
from quark.snapshot.v1 import snapshots_pb2 as sn
from tests.conftest import alive

# Once it goes on from its capture point: what must not be any other's, and the clocks.
WHO = """
import json, os, time, uuid, random
import quark_guest
before = time.monotonic()
document = quark_guest.ready()
print(json.dumps({
    "random": os.urandom(8).hex(), "uuid": str(uuid.uuid4()), "python": random.getrandbits(64), "generation": document["generation"],
    "time": time.time(), "args": document["args"], "since": time.monotonic() - before,
}), flush=True)
quark_guest.finish()
"""
LONG = "prepared_seconds = 600"
PREPARED = "map the working set"  # a step that a clone of a prepared machine has not got


@pytest.fixture
def daemon_with(make_daemon, connect):
    def make(config=LONG):
        daemon = make_daemon(config)
        return connect(f"unix:{daemon.socket}", daemon)

    return make


def who(api, *args):
    ran = api.run(clone="s", args=args)
    assert ran.sandbox.exit_status == 0, ran
    return json.loads(ran.stdout), [step.name for step in ran.sandbox.timeline]


def create(api):
    api.create("s", argv=[sys.executable, "-c", WHO])
    who(api)  # records the working set


def prepared(api, count=1):
    api.until(lambda: api.numbers().pool_prepared == count, lambda: f"{count} are prepared: {api.numbers()}")


def test_one_is_prepared_for_a_snapshot_in_use(daemon_with):
    api = daemon_with()
    create(api)
    for n in range(3):
        prepared(api)
        taken = api.numbers().prepared_taken
        said, steps = who(api, str(n))
        assert said["args"] == [str(n)]
        assert "check the files" in steps
        assert not {"attach to the image", "map the image", PREPARED} & set(steps)
        assert api.numbers().prepared_taken == taken + 1
    prepared(api)
    assert api.numbers().pool_prepared_bytes > 1 << 16
    assert api.numbers().prepared_missed >= 1


def test_one_that_waited_is_not_old(daemon_with):
    """Prepared at the same time: they have nothing in common but what was captured."""
    api = daemon_with()
    create(api)
    warm(api, 2)
    time.sleep(2)
    asked = time.time()
    (a, steps_a), (b, steps_b) = who(api), who(api)
    assert PREPARED not in {*steps_a, *steps_b}
    for key in ("random", "uuid", "python", "generation"):
        assert a[key] != b[key], key
    assert asked <= a["time"] <= b["time"] <= time.time()
    # CLOCK_MONOTONIC goes on from the capture: waiting is no time that passed.
    assert 0 <= a["since"] < 1.5


def warm(api, clones):
    api.snapshots.WarmSnapshot(sn.WarmSnapshotRequest(name="s", clones=clones), timeout=30)
    assert api.numbers().pool_prepared == clones


def test_a_burst_of_more_than_are_prepared(daemon_with):
    api = daemon_with()
    create(api)
    warm(api, 3)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        said = [w for w, _ in threads.map(lambda n: who(api, str(n)), range(24))]
    assert sorted(int(s["args"][0]) for s in said) == list(range(24))
    assert len({s["generation"] for s in said}) == 24
    assert api.numbers().prepared_taken >= 3


def test_the_snapshot_is_deleted_and_made_anew(daemon_with):
    api = daemon_with()
    create(api)
    warm(api, 2)
    api.delete("s")
    assert api.numbers().pool_prepared == 0
    with api.failure("NOT_FOUND"):
        api.run(clone="s")
    api.until(lambda: api.numbers().images == 0, "the image is gone")
    api.create("s", "echo ready >/dev/quark; echo another")
    assert api.run(clone="s").stdout == b"another\n"
    api.collect()
    assert api.problems() == []


def test_deleted_behind_the_daemons_back(daemon_with, quark):
    """Who takes one looks whether its name is still its snapshot's."""
    api = daemon_with()
    create(api)
    prepared(api)
    from snapshotd.store import Store

    with Store.open(quark.root, domain="default", key=None) as store:
        store.delete("s")
        with api.failure("NOT_FOUND"):
            api.run(clone="s")
    api.until(lambda: api.numbers().pool_prepared == 0, "none is prepared for what is gone")


@pytest.mark.parametrize("trusted", [True, False])
def test_imported_anew_with_the_same_id(daemon_with, quark, tmp_path, trusted):
    """One that was prepared of what was made here gives nothing of the host to what came from elsewhere under its id, nor the other way round."""
    from snapshotd.store import Store

    api = daemon_with()
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("of the host")
    mounted = [sb.Volume(source=str(volume), target="/v", read_only=True)]
    api.create("s", "echo ready >/dev/quark; cat /v/file", spec={"volumes": mounted})

    def run(*, host_paths):
        clone = sb.CloneRequest(snapshot="s", host_paths=host_paths)
        return api.sandboxes.RunSandbox(sb.RunSandboxRequest(clone=clone, wait=True), timeout=120).stdout

    with Store.open(quark.root, domain="default", key=None) as store, open(tmp_path / "stream", "w+b") as stream:
        store.export("s", stream)

        def import_again(*, believed):
            stream.seek(0)
            store.delete("s")
            store.import_(stream, believed=believed)

        if not trusted:
            import_again(believed=False)
        for _ in range(2):  # the first one records the working set
            assert run(host_paths=True) == b"of the host"
        prepared(api)
        import_again(believed=not trusted)
        if trusted:
            with api.failure("PERMISSION_DENIED"):
                run(host_paths=False)
        else:
            assert run(host_paths=False) == b"of the host"


def test_cooled(daemon_with):
    api = daemon_with()
    create(api)
    warm(api, 2)
    api.snapshots.CoolSnapshot(sn.CoolSnapshotRequest(name="s"), timeout=30)
    assert api.numbers().pool_prepared == 0
    api.until(lambda: api.numbers().images == 0, "no clone uses the image any more")
    who(api)


def test_more_than_there_may_be(daemon_with):
    api = daemon_with("prepared = 2")
    create(api)
    with api.failure("RESOURCE_EXHAUSTED") as f:
        api.snapshots.WarmSnapshot(sn.WarmSnapshotRequest(name="s", clones=3), timeout=30)
    assert "raise `prepared`" in f.message
    warm(api, 2)


@pytest.mark.parametrize("config", ["prepared_bytes = 4096", f"prepared_reserve = {1 << 60}", "prepared = 0"])
def test_no_room_for_any(daemon_with, config):
    """Memory is short, or may not be taken: clones start without."""
    api = daemon_with(f"{config}\n{LONG}")
    create(api)
    with api.failure("RESOURCE_EXHAUSTED"):
        api.snapshots.WarmSnapshot(sn.WarmSnapshotRequest(name="s", clones=1), timeout=30)
    for _ in range(3):
        assert PREPARED in who(api)[1]
        time.sleep(0.1)
    assert (api.numbers().pool_prepared, api.numbers().prepared_taken) == (0, 0)


def test_the_pager_dies(daemon_with, quark):
    api = daemon_with()
    create(api)
    prepared(api)
    for pid in quark.pagers():
        os.kill(pid, signal.SIGKILL)
    api.until(lambda: not quark.pagers(), "they are dead")
    api.until(lambda: api.numbers().pool_prepared == 0, "those of the dead pager are gone")
    assert who(api, "x")[0]["args"] == ["x"]
    prepared(api)
    assert PREPARED not in who(api)[1]


def test_they_die(daemon_with):
    api = daemon_with()
    create(api)
    warm(api, 2)
    api.until(lambda: api.numbers().pool_idle == 2, "the pool is full")
    workers = [p for p in api.daemon.family() if b"snapshotd.zygote" not in Path(f"/proc/{p}/cmdline").read_bytes()]
    assert len(workers) == 4
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    api.until(lambda: not any(alive(p) for p in workers), "they are dead")
    assert who(api, "x")[0]["args"] == ["x"]
    api.until(lambda: api.numbers().pool_idle == 2, "the pool is full again")
    prepared(api, 2)


def test_the_daemon_is_restarted(daemon_with):
    api = daemon_with()
    create(api)
    warm(api, 2)
    family = api.daemon.family()
    api.daemon.kill()
    api.until(lambda: not any(alive(p) for p in family), "nothing outlives the daemon")
    api.daemon.start()
    assert api.numbers().pool_prepared == 0
    who(api)
    prepared(api)


def test_nothing_is_left_when_nobody_asks(api):
    create(api)
    with api.nothing_left():
        for _ in range(3):
            who(api)


def test_its_own_memory_limit_and_volumes(daemon_with, tmp_path):
    """What the request says counts, of a prepared one too."""
    api = daemon_with()
    spec = {"volumes": [sb.Volume(slot="in", target="/data")]}
    api.create("s", "echo ready >/dev/quark; cat /data/x; grep MemTotal /proc/meminfo", spec=spec)

    def run(text, memory):
        (tmp_path / text).mkdir()
        (tmp_path / text / "x").write_text(text + "\n")
        volume = sb.SlotVolume(slot="in", source=str(tmp_path / text))
        clone = sb.CloneRequest(snapshot="s", memory_bytes=memory, volumes=[volume])
        return api.sandboxes.RunSandbox(sb.RunSandboxRequest(clone=clone, wait=True), timeout=30).stdout.split()

    run("first", 256 << 20)
    prepared(api)
    one = run("one", 256 << 20)
    prepared(api)
    two = run("two", 512 << 20)
    assert (one[0], two[0]) == (b"one", b"two")
    assert int(two[2]) > 1.5 * int(one[2])
    assert api.numbers().prepared_taken == 2
    prepared(api)
    with api.failure() as f:
        api.run(clone="s")
    assert "slot" in f.message
