"""Long calls that are given up, by their deadline or by their client: the work stops, and nothing of it is left."""

import threading

import pytest

from quark.snapshot.v1 import sandboxes_pb2 as sb
from quark.snapshot.v1 import snapshots_pb2 as sn

SPIN = "echo up; while :; do :; done"
FILL = "head -c 40000000 /dev/urandom >/tmp/x; echo up; "
MEMORY = {"memory_bytes": 256 << 20}


def create_request(name, code):
    spec = sb.SandboxSpec(argv=["/bin/sh", "-c", code], **MEMORY)
    return sn.CreateSnapshotRequest(name=name, spec=spec)


def cancelled(api, call):
    call.cancel()
    with api.failure("CANCELLED"):
        list(call)


def test_create_is_given_up_while_the_program_starts(api):
    with api.nothing_left():
        call = api.snapshots.CreateSnapshot(create_request("s", SPIN), timeout=30)
        assert next(call).stdout == b"up\n"
        cancelled(api, call)
        with api.failure("DEADLINE_EXCEEDED"):
            list(api.snapshots.CreateSnapshot(create_request("s", SPIN), timeout=0.3))
    assert api.names() == []
    assert not api.list().sandboxes


def test_create_is_given_up_while_it_is_stored(api):
    with api.nothing_left():
        for _ in range(3):
            call = api.snapshots.CreateSnapshot(create_request("s", FILL + "echo ready >/dev/quark"), timeout=30)
            while not next(call).frames_done:
                pass
            cancelled(api, call)
    assert api.names() == []
    assert not api.list().sandboxes
    api.create("s")


@pytest.mark.parametrize("clone", [False, True])
def test_run_is_given_up(api, clone):
    api.create("s", "echo ready >/dev/quark; " + SPIN)
    assert api.run("true").sandbox.exit_status == 0
    api.kill(api.start(clone="s"))
    request = api.request(clone="s", wait=True) if clone else api.request(SPIN, wait=True)
    with api.nothing_left():
        with api.failure("DEADLINE_EXCEEDED"):
            api.sandboxes.RunSandbox(request, timeout=0.3)
        # At every moment of its start.
        for i in range(20):
            with api.failure("DEADLINE_EXCEEDED"):
                api.sandboxes.RunSandbox(request, timeout=0.002 * i)
        for i in range(20):
            call = api.sandboxes.RunSandbox.future(request, timeout=30)
            threading.Event().wait(0.002 * i)
            assert call.cancel()
    assert not api.list().sandboxes


def test_waiting_is_given_up(api):
    sandbox = api.start(SPIN)
    with api.nothing_left():
        with api.failure("DEADLINE_EXCEEDED"):
            api.sandboxes.WaitSandbox(sb.WaitSandboxRequest(id=sandbox), timeout=0.1)
        call = api.sandboxes.WaitSandbox.future(sb.WaitSandboxRequest(id=sandbox), timeout=30)
        call.cancel()
        attached = api.attach(sandbox)
        attached.until(b"up\n")
        attached.leave()
    assert api.sandbox(sandbox).state == sb.Sandbox.RUNNING
    api.kill(sandbox)


def test_capture_is_given_up(api):
    sandbox = api.start(FILL + "while read x; do echo $x; done", spec=MEMORY)
    attached = api.attach(sandbox)
    attached.until(b"up\n")
    with api.nothing_left():
        for i in range(3):
            request = sb.CaptureSandboxRequest(id=sandbox, name="s")
            call = api.sandboxes.CaptureSandbox(request, timeout=30)
            next(call)
            cancelled(api, call)
            attached.send(stdin=b"%d\n" % i)
            attached.until(b"%d\n" % i)  # it goes on
        with api.failure("DEADLINE_EXCEEDED"):
            list(api.sandboxes.CaptureSandbox(sb.CaptureSandboxRequest(id=sandbox, name="s"), timeout=0.03))
    assert api.names() == []
    assert api.capture(sandbox, "s")[-1].snapshot == "s"
    assert api.run(clone="s", stdin=b"x\n").stdout == b"x\n"


def test_a_check_is_given_up(api):
    list(api.snapshots.CreateSnapshot(create_request("s", FILL + "echo ready >/dev/quark"), timeout=60))
    *steps, last = api.snapshots.CheckStore(sn.CheckStoreRequest(), timeout=30)
    assert [m.bytes_total > 40_000_000 and not m.problems for m in steps] == [True] * len(steps) != []
    assert not last.problems
    with api.nothing_left():
        for _ in range(3):
            call = api.snapshots.CheckStore(sn.CheckStoreRequest(), timeout=30)
            next(call)
            cancelled(api, call)
    assert api.problems() == []


def test_export_and_import_are_given_up(api):
    list(api.snapshots.CreateSnapshot(create_request("s", FILL + "echo ready >/dev/quark"), timeout=60))
    data = api.export("s")
    assert len(data) > 40_000_000
    with api.nothing_left():
        for _ in range(3):
            call = api.snapshots.ExportSnapshot(sn.ExportSnapshotRequest(name="s"), timeout=30)
            assert next(call).data
            cancelled(api, call)
        with api.failure("DEADLINE_EXCEEDED"):
            list(api.snapshots.ExportSnapshot(sn.ExportSnapshotRequest(name="s"), timeout=0.01))
    api.delete("s")
    api.collect()
    stop = threading.Event()

    def requests():
        for i in range(0, len(data) // 2, 1 << 20):
            yield sn.ImportSnapshotRequest(data=data[i : i + (1 << 20)])
        stop.wait(30)  # and no more

    with api.nothing_left():
        call = api.snapshots.ImportSnapshot.future(requests(), timeout=30)
        api.until(lambda: any((api.daemon.root / "domains" / "default" / "packs").iterdir()), "some of it has come")
        assert call.cancel()
        with api.failure("DEADLINE_EXCEEDED"):
            api.snapshots.ImportSnapshot(requests(), timeout=0.3)
        stop.set()
    assert api.names() == []
    assert api.import_(data).name == "s"


def test_warming_is_given_up(api, cold_pager):
    api.create("s", FILL + "echo ready >/dev/quark", spec=MEMORY)
    cold_pager(api.daemon)  # it never brings in all of it
    before = api.settled()
    for _ in range(3):
        with api.failure("DEADLINE_EXCEEDED"):
            api.snapshots.WarmSnapshot(sn.WarmSnapshotRequest(name="s"), timeout=0.2)
    api.until(lambda: api.numbers().images == 0, "the image is let go again")
    api.until(
        lambda: api.footprint()[0] <= before[0] + 1, lambda: (before, api.footprint())
    )  # its connection to the pager


def test_a_client_that_disappears(api, connect):
    """The end of a connection is the end of its calls."""
    with api.nothing_left():
        other = connect(api.target)
        call = other.sandboxes.RunSandbox.future(other.request(SPIN, wait=True), timeout=30)
        api.until(lambda: [s.state for s in api.list().sandboxes] == [sb.Sandbox.RUNNING], "it runs")
        other.close()
        api.until(lambda: not api.list().sandboxes, "it has been ended")
        assert call.cancelled() or call.exception() is not None
