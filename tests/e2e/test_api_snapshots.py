"""SnapshotService through a real socket: every method, with good input and bad."""

import re

import pytest

from quark.snapshot.v1 import sandboxes_pb2 as sb
from quark.snapshot.v1 import snapshots_pb2 as sn

HELLO = "echo up; echo oops >&2; echo ready >/dev/quark; cat /dev/quark"


@pytest.fixture
def layer(api):
    """Snapshot `base`, and `top`, taken of a clone of it."""
    api.create("base")
    sandbox = api.start(clone="base", stdin=b"one\n")
    api.attach(sandbox).until(b"1:one\n")
    api.capture(sandbox, "top")
    api.kill(sandbox)
    return api


def test_create_streams_output_and_progress(api):
    spec = sb.SandboxSpec(
        argv=["/bin/sh", "-c", HELLO], env={"K": "V"}, cwd="/tmp", hostname="h", memory_bytes=64 << 20
    )
    messages = list(api.snapshots.CreateSnapshot(sn.CreateSnapshotRequest(name="s", spec=spec), timeout=30))
    assert b"".join(m.stdout for m in messages) == b"up\n"
    assert b"".join(m.stderr for m in messages) == b"oops\n"
    progress = [(m.frames_done, m.frames_total) for m in messages if m.frames_total]
    assert progress
    assert progress == sorted(progress)
    assert all(done <= total for done, total in progress)
    assert [m.HasField("snapshot") for m in messages] == [False] * (len(messages) - 1) + [True]
    s = messages[-1].snapshot
    assert s == api.get("s")
    assert (s.name, s.parent, s.trigger) == ("s", "", "file")
    assert re.fullmatch("[0-9a-f]{32}", s.id)
    assert s.pages_new == s.pages_total - s.pages_zero - s.pages_same > 100
    assert 0 < s.bytes_stored < s.memory_used_bytes <= s.ram_bytes <= 64 << 20
    assert s.pause_us > 0
    assert s.ring in {"ring0", "ring3"}
    assert re.fullmatch("[0-9a-f]{40}", s.kernel)
    assert (list(s.spec.argv), dict(s.spec.env), s.spec.cwd, s.spec.hostname) == (
        ["/bin/sh", "-c", HELLO],
        {"K": "V"},
        "/tmp",
        "h",
    )
    assert not list(api.list().sandboxes), "the sandbox that was captured is left"


def test_other_triggers(api):
    log = api.create("log", "echo not yet; echo it is up; while :; do :; done", ready_log="is.up")
    assert log.trigger == "log"
    after = api.create("after", "while :; do :; done", ready_after_seconds=0.05)
    assert after.trigger == "after"
    for name in ("log", "after"):
        clone = api.start(clone=name)
        assert api.sandbox(clone).state == sb.Sandbox.RUNNING
        api.kill(clone)


REFUSED = [
    ({"spec": {}}, "FieldError", "spec.argv"),
    ({"spec": {"argv": ["true"], "cwd": "tmp"}}, "FieldError", "spec.cwd"),
    ({"spec": {"argv": ["true"], "rootfs": "x"}}, "FieldError", "spec.rootfs"),
    ({"spec": {"argv": ["true"], "ring": "ring1"}}, "FieldError", "spec.ring"),
    ({"spec": {"argv": ["true"], "env": {"a=b": ""}}}, "FieldError", "spec.env"),
    ({"spec": {"argv": ["true"], "env": {"": "b"}}}, "FieldError", "spec.env"),
    ({"spec": {"argv": ["a\0b"]}}, "FieldError", "spec.argv"),
    ({"spec": {"argv": ["true"], "hostname": "\0"}}, "FieldError", "spec.hostname"),
    ({"spec": {"argv": ["true"], "volumes": [{"source": "/\0", "target": "/b"}]}}, "FieldError", "spec.volumes[0]"),
    ({"spec": {"argv": ["true"], "volumes": [{"source": "/a", "target": "b"}]}}, "FieldError", "spec.volumes[0]"),
    ({"ready_log": "("}, "FieldError", "ready_log"),
    ({"ready_after_seconds": -1.0}, "FieldError", "ready_after_seconds"),
    ({"ready_after_seconds": float("nan")}, "FieldError", "ready_after_seconds"),
    ({"name": ""}, "BadNameError", "name"),
    ({"name": "a/b"}, "BadNameError", "name"),
    ({"spec": {"argv": ["true"], "memory_bytes": 1 << 50}}, "MemorySizeError", "spec.memory_bytes"),
]


def test_create_refuses(api):
    with api.nothing_left():
        for fields, reason, field in REFUSED:
            request = sn.CreateSnapshotRequest(**{"name": "s", "spec": {"argv": ["/bin/true"]}, **fields})
            with api.failure("INVALID_ARGUMENT") as f:
                list(api.snapshots.CreateSnapshot(request, timeout=30))
            assert (f.reason, f.fields) == (reason, (field,)), f
            assert f.exit_code == {"FieldError": 2, "BadNameError": 49, "MemorySizeError": 64}[reason]
            assert field in f.message


def test_create_says_what_went_wrong(api):
    with api.nothing_left():
        with api.failure("ABORTED") as f:
            api.create("s", "exit 5")
        assert (f.reason, f.exit_code) == ("CaptureError", 71)
        assert "status 5" in f.message
        with api.failure("NOT_FOUND") as f:
            api.create("s", spec={"rootfs": "/absent"})
        assert (f.reason, f.exit_code) == ("RootfsError", 62)
    api.create("s")
    with api.failure("ALREADY_EXISTS") as f:
        api.create("s")
    assert (f.reason, f.exit_code) == ("NameTakenError", 41)
    assert api.names() == ["s"]


def test_get_and_delete(api):
    for call in (
        lambda: api.get("none"),
        lambda: api.delete("none"),
        lambda: api.export("none"),
        lambda: api.warm("none"),
    ):
        with api.failure("NOT_FOUND") as f:
            call()
        assert (f.reason, f.exit_code) == ("SnapshotUnknownError", 40)
        assert "none" in f.message
        assert f.advice
    for call in (
        lambda: api.snapshots.FlattenSnapshot(sn.FlattenSnapshotRequest(name="none")),
        lambda: api.snapshots.CoolSnapshot(sn.CoolSnapshotRequest(name="none")),
        lambda: api.run(clone="none"),
    ):
        with api.failure("NOT_FOUND") as f:
            call()
        assert f.reason == "SnapshotUnknownError"
    api.create("s")
    api.delete("s")
    with api.failure("NOT_FOUND"):
        api.get("s")
    collected = api.gc()
    assert (collected.snapshots, collected.busy, collected.leftovers) == (1, 0, 0)
    assert collected.chunks > 0
    assert collected.bytes_freed > 100_000
    assert api.numbers().store_bytes == 0


def test_list_pages_and_filters(layer):
    for name in ("a1", "a2", "a3", "b"):
        layer.create(name)
    every = ["a1", "a2", "a3", "b", "base", "top"]
    assert layer.names() == every
    assert layer.names(name_prefix="a") == ["a1", "a2", "a3"]
    assert layer.names(name_prefix="nothing") == []
    assert layer.names(parent="base") == ["top"]
    assert layer.names(parent="top") == []
    for size in (1, 2, 6, 1000):
        found, token, pages = [], "", 0
        while True:
            page = layer.snapshots.ListSnapshots(sn.ListSnapshotsRequest(page_size=size, page_token=token), timeout=30)
            found += [s.name for s in page.snapshots]
            pages += 1
            assert len(page.snapshots) <= size
            token = page.next_page_token
            if not token:
                break
        assert (found, pages) == (every, -(-len(every) // size))
    # What a page shows is what the catalogue has of it.
    listed = layer.snapshots.ListSnapshots(sn.ListSnapshotsRequest(name_prefix="top"), timeout=30).snapshots[0]
    whole = layer.get("top")
    for field in ("name", "id", "parent", "create_time", "pages_total", "pages_zero", "pages_same", "bytes_stored"):
        assert getattr(listed, field) == getattr(whole, field)
    assert not listed.HasField("spec")


def test_list_refuses(api):
    for fields, field in (
        ({"page_size": 1001}, "page_size"),
        ({"page_token": "?"}, "page_token"),
        ({"page_token": "\u00e9"}, "page_token"),
        ({"page_token": "gICA"}, "page_token"),  # not UTF-8
    ):
        with api.failure("INVALID_ARGUMENT") as f:
            api.names(**fields)
        assert f.fields == (field,)
    with api.failure("NOT_FOUND"):
        api.names(parent="none")


def test_layers_are_not_orphaned(layer):
    with layer.failure("FAILED_PRECONDITION") as f:
        layer.delete("base")
    assert (f.reason, f.exit_code) == ("HasChildrenError", 48)
    assert "top" in f.message
    assert layer.names() == ["base", "top"]
    layer.delete("base", cascade=True)
    assert layer.names() == []
    layer.collect()
    assert layer.problems() == []


def test_flatten(layer):
    top = layer.get("top")
    assert top.parent == "base"
    flat = layer.snapshots.FlattenSnapshot(sn.FlattenSnapshotRequest(name="top"), timeout=30)
    assert (flat.parent, flat.id) == ("", top.id)
    layer.delete("base")
    layer.collect()
    assert layer.problems() == []
    assert layer.run(clone="top", stdin=b"two\n").stdout == b"2:two\n"
    # Once more is nothing.
    assert layer.snapshots.FlattenSnapshot(sn.FlattenSnapshotRequest(name="top"), timeout=30).id == top.id


def test_export_and_import(layer):
    top, data = layer.get("top"), layer.export("top")
    with layer.failure("ALREADY_EXISTS") as f:
        layer.import_(data)
    assert f.reason == "NameTakenError"
    layer.delete("base", cascade=True)
    layer.collect()
    ids = set()
    for piece in (1 << 20, 70_001):
        back = layer.import_(data, piece=piece)
        ids.add(back.id)
        assert (back.name, ids) == ("top", {back.id}), "the same each time: it is made from what is in the stream"
        assert back.self_contained
        assert back.id != top.id
        assert layer.problems() == []
        assert layer.run(clone="top", stdin=b"two\n").stdout == b"2:two\n"
        layer.delete("base", cascade=True)
        assert layer.names() == []
        layer.collect()
    assert layer.import_(data, name="other").name == "other"
    assert layer.run(clone="other", stdin=b"two\n").stdout == b"2:two\n"
    with layer.failure("ALREADY_EXISTS"):
        layer.import_(data, name="other")


def test_a_bad_stream_leaves_nothing(layer):
    data = layer.export("top")
    layer.delete("base", cascade=True)
    layer.collect()
    middle = len(data) // 2
    damaged = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    with layer.nothing_left():
        for bad in (damaged, data[:middle], data[:-1], data[:10], b"x" * 1000, b""):
            with layer.failure() as f:
                layer.import_(bad)
            assert f.code in {"DATA_LOSS", "FAILED_PRECONDITION"}, (len(bad), f)
            assert layer.names() == []
        with layer.failure("INVALID_ARGUMENT") as f:
            layer.snapshots.ImportSnapshot(iter([]), timeout=30)
        assert f.fields == ("data",)
        with layer.failure("INVALID_ARGUMENT") as f:
            layer.import_(data, name="a/b")
        assert f.reason == "BadNameError"


def test_warm_and_cool(api):
    s = api.create("s", "a=$(head -c 3000000 /dev/urandom | od); echo ready >/dev/quark; echo ${#a}")
    size = api.warm("s")
    assert size == (s.pages_total - s.pages_zero) * 4096
    numbers = api.numbers()
    assert (numbers.images, numbers.image_pages) == (1, size // 4096)
    assert api.warm("s") == size
    # Warm: no clone waits for a page.
    assert api.run(clone="s").stdout.strip().isdigit()
    assert api.numbers().faults == 0
    api.snapshots.CoolSnapshot(sn.CoolSnapshotRequest(name="s"), timeout=30)
    api.until(lambda: api.numbers().images == 0, "the last clone has let go")
    assert api.numbers().image_pages == 0


def test_check_and_collect(api):
    api.create("s")
    assert api.problems() == []
    (pack,) = (api.daemon.root / "domains" / "default" / "packs").iterdir()
    with pack.open("r+b") as f:
        f.seek(pack.stat().st_size // 2)
        f.write(b"damage!")
    *_, last = api.snapshots.CheckStore(sn.CheckStoreRequest(), timeout=30)
    found = last.problems
    assert found
    assert {p.kind for p in found} <= {"chunk", "page", "snapshot"}
    assert all(p.where and p.what and p.advice for p in found)
    with api.failure("DATA_LOSS") as f:
        api.export("s")
    assert (f.reason, f.exit_code) == ("CorruptChunkError", 42)


def test_numbers(layer):
    n = layer.numbers()
    base, top = layer.get("base"), layer.get("top")
    assert n.version
    assert (n.domain, n.snapshots, n.quota_bytes, n.sandboxes_running) == ("default", 2, 0, 0)
    assert n.store_bytes >= base.bytes_stored + top.bytes_stored
    assert n.pages_stored <= n.pages_total
    assert n.images == 1
    sandbox = layer.start(clone="base")
    assert layer.numbers().sandboxes_running == 1
    layer.kill(sandbox)
    assert layer.numbers().sandboxes_running == 0
