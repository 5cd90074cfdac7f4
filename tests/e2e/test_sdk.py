"""The SDK, `import quark`: warmed functions, both clients, errors of the daemon's classes, many calls at once."""

import asyncio
import io
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import quark as sdk
from quark.errors import FieldError, UsageError
from snapshotd.store.errors import NameTakenError, SnapshotUnknownError

README = Path(__file__).parents[2] / "README.md"
MODEL = """
import os, sys, time
TABLE = [i * i for i in range(1000)]
def price(n, *, add=0):
    print("looking up", n)
    if n < 0:
        raise ValueError(f"{n} is negative")
    return TABLE[n] + add
def who(_):
    return os.urandom(8).hex()
def sleep(seconds):
    time.sleep(seconds)
"""
READY = "echo ready >/dev/quark; read x </dev/quark; echo on"


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def listed(root):
    with sdk.connect(root=str(root)) as client:
        return list(client.list_sandboxes())


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "model.py"
    file.write_text(MODEL)
    return file


@pytest.fixture
def client(quark, daemon):  # noqa: ARG001 - has to run
    with sdk.connect(root=str(quark.root)) as c:
        yield c


def test_a_daemon_by_the_path_of_its_socket(daemon, monkeypatch):
    """As the command takes it."""
    with sdk.connect(str(daemon.socket)) as client:
        assert list(client.list_snapshots()) == []
    monkeypatch.setenv("QUARK_DAEMON", str(daemon.socket))
    with sdk.connect() as client:
        assert list(client.list_snapshots()) == []


def test_the_example_of_the_readme(quark, daemon, model):  # noqa: ARG001 - has to run
    example = re.search(r"```python\n(import quark\n.*?)```", README.read_text(), re.DOTALL)[1]
    assert len([line for line in example.splitlines() if line]) == 5
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=model.parent,
        env={"QUARK_ROOT": str(quark.root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "1764\n[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]\n", done
    names = quark("snapshot", "list", "--json").out
    assert '"price"' in names


def test_a_warmed_function(client, model):
    price = client.warm("price", f"{model}:price")
    assert price(42) == 1764
    assert price(2, add=1) == 5
    with pytest.raises(sdk.FunctionError, match="ValueError: -1 is negative"):
        price(-1)
    with pytest.raises(sdk.FunctionError, match="TypeError"):
        price("text")
    who = client.warm("who", f"{model}:who")
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(who, range(12)))) == 12
    assert client.warm("price", f"{model}:price")(3) == 9, "there already"


def test_wrong_functions(client, model):
    with pytest.raises(UsageError, match=r"is not FILE\.py:FUNCTION"):
        client.warm("x", "model")
    with pytest.raises(UsageError, match="does not exist"):
        client.warm("x", "/nowhere/model.py:f")
    with pytest.raises(sdk.FunctionError, match=r"(?s)before its capture point.*AttributeError.*'missing'"):
        client.warm("x", f"{model}:missing")
    assert list(client.list_snapshots()) == []


def test_errors_are_the_daemons_classes(client, quark):
    with pytest.raises(SnapshotUnknownError, match="'none'"):
        client.get_snapshot("none")
    client.create_snapshot("s", ["/bin/sh", "-c", READY])
    with pytest.raises(FieldError, match="not an absolute path") as refused:
        client.run(["/bin/true"], cwd="tmp")
    assert (refused.value.field, refused.value.exit_code) == ("spec.cwd", 2)
    with pytest.raises(NameTakenError):
        client.create_snapshot("s", ["/bin/sh", "-c", READY])
    with pytest.raises(sdk.DeadlineError):
        client.run(["/bin/sleep", "60"], timeout=0.3)
    until(lambda: not list(client.list_sandboxes()))
    with sdk.connect(root=str(quark.root / "nowhere")) as other, pytest.raises(sdk.QuarkError, match="snapshotd"):
        other.statistics()


def test_export_and_import(client):
    made = client.create_snapshot("s", ["/bin/sh", "-c", READY])
    stream = io.BytesIO()
    assert client.export_snapshot("s", stream) == stream.tell() > 1000
    client.delete_snapshot("s")
    stream.seek(0)
    back = client.import_snapshot(stream, "t")
    # What it depends on came with it: a snapshot that contains its files is another one.
    assert back.id != made.id
    assert (back.name, back.argv) == ("t", ("/bin/sh", "-c", READY))
    assert client.run(snapshot="t").stdout == b"on\n"
    assert [p.kind for p in client.check_store()] == ["leftover"]
    assert client.collect_garbage().snapshots == 1
    assert client.check_store() == []


def test_asynchronously(quark, daemon, model):  # noqa: ARG001 - has to run
    async def main():
        async with sdk.aio.connect(root=str(quark.root)) as client:
            price = await client.warm("price", f"{model}:price")
            assert await asyncio.gather(*(price(n) for n in range(10))) == [n * n for n in range(10)]
            assert [s.name async for s in client.list_snapshots()] == ["price"]
            sandbox = await client.start(["/bin/cat"])
            attached = sandbox.attach()
            attached.write(b"hello\n")
            attached.close_stdin()
            assert [data async for data in attached] == [("stdout", b"hello\n")]
            assert (attached.ended.state, attached.ended.exit_status) == ("exited", 0)
            with pytest.raises(sdk.DeadlineError):
                await client.run(["/bin/sleep", "60"], timeout=0.3)
            task = asyncio.create_task(client.run(["/bin/sleep", "60"]))
            await asyncio.to_thread(until, lambda: listed(quark.root))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(until, lambda: not listed(quark.root))

    asyncio.run(asyncio.wait_for(main(), 60))
