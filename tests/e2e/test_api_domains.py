"""Encrypted domains and quotas, as a client of the daemon sees them."""

import os
import re
import threading
from pathlib import Path

import pytest

from quark.snapshot.v1 import snapshots_pb2 as sn

THREADS = 256  # of a domain, for calls that last
SECRET = (("quark-domain", "secret"),)
MARKER = "do-not-store-this-in-the-clear"
CODE = f"a={MARKER}; echo ready >/dev/quark; echo $a"


@pytest.fixture
def restarted(quark, make_daemon, connect):
    """Starts the daemon, or ends it with its pagers and starts it again, with a key for the domain `secret`."""

    def start(source):
        key = f'key = "{source}"' if source else ""
        config = f'[[domains]]\nname = "secret"\n{key}\n'
        if quark.daemon is None:
            make_daemon(config)
        else:
            quark.daemon.process.terminate()
            assert quark.daemon.process.wait(20) == 0
            assert not quark.close()
            quark.daemon.config.write_text(config)
            quark.daemon.start()
        return connect(f"unix:{quark.daemon.socket}", quark.daemon)

    return start


def test_an_encrypted_domain(restarted, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    api = restarted(f"file:{key}")
    for metadata in (SECRET, None):
        api.create("s", CODE, metadata=metadata)
        assert api.run(clone="s", metadata=metadata).stdout.decode() == MARKER + "\n"
    stored = {
        name: b"".join(p.read_bytes() for p in (api.daemon.root / "domains" / name).rglob("*") if p.is_file())
        for name in ("default", "secret")
    }
    assert MARKER.encode() in stored["default"]
    assert MARKER.encode() not in stored["secret"]
    stream = api.export("s")
    # The same key from a command, as hexadecimal digits.
    api = restarted(f"command:od -An -v -tx1 {key} | tr -d ' \\\\n'")
    assert api.run(clone="s", metadata=SECRET).stdout.decode() == MARKER + "\n"
    (tmp_path / "other").write_bytes(os.urandom(32))
    for source, code, reason, exit_code in (
        (f"file:{tmp_path}/other", "PERMISSION_DENIED", "KeyWrongError", 47),
        ("", "FAILED_PRECONDITION", "KeyMissingError", 47),
        (f"file:{tmp_path}/none", "FAILED_PRECONDITION", "KeySourceError", 82),
        ("command:echo no key today >&2; exit 3", "FAILED_PRECONDITION", "KeySourceError", 82),
    ):
        api = restarted(source)
        for call, args in ((api.run, {"clone": "s"}), (api.create, {"name": "t"}), (api.import_, {"data": stream})):
            with api.failure(code) as f:
                call(**args, metadata=SECRET)
            assert (f.reason, f.exit_code) == (reason, exit_code), (source, f)
        # The others do not notice.
        assert api.run(clone="s").stdout.decode() == MARKER + "\n"
    # What the key of nobody was asked for is not lost.
    api = restarted(f"file:{key}")
    assert api.run(clone="s", metadata=SECRET).stdout.decode() == MARKER + "\n"


def test_a_quota(make_daemon, connect):
    small = (("quark-domain", "small"),)
    daemon = make_daemon('[[domains]]\nname = "small"\nquota = 3_000_000\n')
    api = connect(f"unix:{daemon.socket}", daemon)
    api.create("s", metadata=small)
    big = "head -c 5000000 /dev/urandom >/tmp/x; echo ready >/dev/quark; read x"
    with api.failure("RESOURCE_EXHAUSTED") as f:
        api.create("big", big, metadata=small)
    assert (f.reason, f.exit_code) == ("QuotaExceededError", 46)
    assert "small" in f.message
    api.create("big", big)
    with api.failure("RESOURCE_EXHAUSTED") as f:
        api.import_(api.export("big"), metadata=small)
    assert f.reason == "QuotaExceededError"
    # A running sandbox survives that it cannot be captured.
    sandbox = api.start(big.replace("echo ready >/dev/quark", "echo up"), metadata=small)
    attached = api.attach(sandbox, metadata=small)
    attached.until(b"up\n")
    with api.failure("RESOURCE_EXHAUSTED"):
        api.capture(sandbox, "big", metadata=small)
    attached.send(stdin=b"\n")
    attached.rest()
    assert attached.ended.exit_status == 0
    numbers = api.numbers(metadata=small)
    assert (numbers.domain, numbers.snapshots, numbers.quota_bytes) == ("small", 1, 3_000_000)
    assert 0 < numbers.store_bytes <= 3_000_000


def test_calls_that_last_take_no_thread_of_another_domain(make_daemon, connect):
    """As many imports as one domain can have that wait for their bytes: the others collect, export and import."""
    other = (("quark-domain", "other"),)
    daemon = make_daemon('[[domains]]\nname = "other"\n')
    api = connect(f"unix:{daemon.socket}", daemon)
    api.create("s", argv=["/bin/sh", "-c", "echo ready >/dev/quark"])
    go_on = threading.Event()

    def pieces():
        yield sn.ImportSnapshotRequest(name="x", data=b"Q")
        go_on.wait()

    status = Path(f"/proc/{daemon.process.pid}/status")
    calls = []
    try:
        calls += [api.snapshots.ImportSnapshot.future(pieces(), metadata=other) for _ in range(THREADS)]
        api.until(lambda: int(re.search(r"Threads:\t(\d+)", status.read_text())[1]) > THREADS, "they wait")
        api.gc()
        assert api.import_(api.export("s"), name="t").name == "t"
    finally:
        for call in calls:
            call.cancel()
        go_on.set()
