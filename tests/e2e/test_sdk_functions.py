"""Warmed functions: which snapshot is the function asked for, what a call gives and raises, results and arguments of any size."""

import asyncio
import sys
import time

import pytest

import quark as sdk
from quark.store_errors import NameTakenError

MODEL = """
import asyncio, os, random, subprocess, sys, time
import helper
CALLS = 0
class Odd(Exception):
    pass
def roll(): return random.random()
def echo(x): return x
def value(): return helper.VALUE
def count():
    global CALLS
    CALLS += 1
    return CALLS
def talk(n):
    print("out", n, flush=True)
    print("err", n, file=sys.stderr)
    subprocess.run(["/bin/echo", "child"])
    return n
def wrong(n): raise ValueError("is negative", n)
def odd(n): raise Odd(n)
def die(): os.abort()
def sleep(n): time.sleep(n)
def unserialisable(): return {1, 2}
def has(name): return os.environ.get(name), os.getcwd(), sys.stdin.read()
def pair(): return (1, b"two", {3})
def numbers(n): return list(range(n))
def flood(n): print("x" * n); return n
async def later(n):
    await asyncio.sleep(0.01)
    return n
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "helper.py").write_text("VALUE = 1\n")
    file = tmp_path / "model.py"
    file.write_text(MODEL)
    return file


@pytest.fixture
def client(quark, daemon):  # noqa: ARG001 - has to run
    with sdk.connect(root=str(quark.root)) as c:
        yield c


@pytest.fixture
def warm(client, model):
    return lambda name, **options: client.warm(name, f"{model}:{name}", memory="512M", **options)


def test_calls_draw_different_numbers(warm):
    roll = warm("roll")
    assert len({roll() for _ in range(5)}) == 5


def test_each_call_is_a_clone(warm):
    count = warm("count")
    assert [count(), count()] == [1, 1]


def test_output_of_a_call(warm):
    call = warm("talk").call(7)
    assert (call.result, call.stdout, call.stderr) == (7, b"out 7\nchild\n", b"err 7\n")
    assert call.sandbox.exit_status == 0


def test_a_function_that_raises(warm):
    with pytest.raises(sdk.FunctionError, match="wrong raised ValueError: ") as raised:
        warm("wrong")(-1)
    e = raised.value
    assert (e.kind, type(e.exception), e.exception.args) == ("ValueError", ValueError, ("is negative", -1))
    assert e.__cause__ is e.exception
    assert "in wrong" in e.traceback
    assert e.traceback.strip().endswith("ValueError: ('is negative', -1)")
    with pytest.raises(sdk.FunctionError, match="odd raised Odd: 3") as raised:
        warm("odd")(3)
    assert raised.value.exception is None, "a class that is not built in is not guessed"


def test_a_sandbox_that_dies(warm):
    with pytest.raises(sdk.FunctionError, match="ended with status 134 and no whole answer"):
        warm("die")()


def test_what_json_cannot_say(warm):
    with pytest.raises(sdk.FunctionError, match="TypeError: Object of type set is not JSON serializable"):
        warm("unserialisable")()
    assert warm("pair", serializer="pickle")() == (1, b"two", {3})


def test_pickled_exceptions(warm, model, monkeypatch):
    monkeypatch.syspath_prepend(str(model.parent))
    with pytest.raises(sdk.FunctionError) as raised:
        warm("odd", serializer="pickle")(3)
    assert type(raised.value.exception).__name__ == "Odd"
    assert raised.value.exception.args == (3,)
    sys.modules.pop("model", None)
    sys.modules.pop("helper", None)


def test_an_asynchronous_function(warm):
    assert warm("later")(5) == 5


def test_sizes(warm):
    echo, numbers = warm("echo"), warm("numbers")
    for size in (0, 1, (1 << 19) - 30, 1 << 19, (8 << 20) + 1):
        text = "x" * size
        assert echo(text) == text
    assert numbers(10**6) == list(range(10**6))
    call = warm("flood").call(3 << 20)
    assert (call.result, len(call.stdout)) == (3 << 20, (3 << 20) + 1)


def test_a_timeout_ends_the_sandbox(warm, client):
    sleep = warm("sleep").options(timeout=1)
    with pytest.raises(sdk.DeadlineError):
        sleep(60)
    deadline = time.monotonic() + 20
    while list(client.list_sandboxes()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_options_of_calls(warm):
    has = warm("has", env={"PATH": "/usr/bin", "K": "warm"})
    assert has("K") == ["warm", "/", ""]
    assert has.options(env={"K": "call"}, cwd="/usr", memory="1G")("K") == ["call", "/usr", ""]


def test_the_function_asked_for_is_the_one_that_is_called(client, model):
    first = client.warm("f", f"{model}:value")
    made = client.get_snapshot("f").id
    assert first() == 1
    assert client.warm("f", f"{model}:value")() == 1
    assert client.get_snapshot("f").id == made, "the same"
    (model.parent / "helper.py").write_text("VALUE = 2\n")  # a module that it imports
    assert client.warm("f", f"{model}:value")() == 2
    assert client.warm("f", f"{model}:count")() == 1  # another function
    model.write_text(MODEL.replace("CALLS = 0", "CALLS = 10"))  # its source
    assert client.warm("f", f"{model}:count")() == 11
    last = client.get_snapshot("f").id
    client.warm("f", f"{model}:count", env={"A": "B"})  # its options
    assert client.get_snapshot("f").id != last


def test_what_is_not_imported_by_a_statement_can_be_named(client, model):
    data = model.parent / "data"
    data.mkdir()
    (data / "weights").write_text("1")
    client.warm("f", f"{model}:value", depends=[str(data)])
    made = client.get_snapshot("f").id
    client.warm("f", f"{model}:value", depends=[str(data)])
    assert client.get_snapshot("f").id == made
    (data / "weights").write_text("2")
    client.warm("f", f"{model}:value", depends=[str(data)])
    assert client.get_snapshot("f").id != made
    with pytest.raises(sdk.QuarkError, match="does not exist"):
        client.warm("f", f"{model}:value", depends=["/nowhere"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"python": "/nowhere/python"}, "cannot be run"),
        ({"rootfs": "/nowhere"}, "/nowhere/.*No such file or directory"),
        ({"serializer": "xml"}, "is not one of json, pickle"),
    ],
)
def test_what_cannot_be_warmed_is_refused(client, model, options, says):
    with pytest.raises(sdk.QuarkError, match=says) as refused:
        client.warm("f", f"{model}:value", **options)
    assert refused.value.exit_code == 2
    assert list(client.list_snapshots()) == []


def test_a_change_can_be_an_error(client, model):
    client.warm("f", f"{model}:value")
    with pytest.raises(sdk.FunctionChangedError, match=r"is not .*:count as it is now"):
        client.warm("f", f"{model}:count", replace=False)
    assert client.warm("f", f"{model}:value", replace=False)() == 1


def test_a_snapshot_that_is_no_function_is_left_alone(client, model):
    client.create_snapshot("f", ["/bin/sh", "-c", "echo ready >/dev/quark"])
    with pytest.raises(NameTakenError, match="no warmed function"):
        client.warm("f", f"{model}:value")


def test_an_import_that_fails_says_where(client, model):
    model.write_text("def f(): pass\nimport nothing_there\n")
    with pytest.raises(
        sdk.FunctionError, match=r"(?s)could not be warmed.*line 2.*No module named 'nothing_there'"
    ) as failed:
        client.warm("f", f"{model}:f")
    assert failed.value.kind == "ModuleNotFoundError"
    assert list(client.list_snapshots()) == []


def test_asynchronously(quark, daemon, model):  # noqa: ARG001 - has to run
    async def main():
        async with sdk.aio.connect(root=str(quark.root)) as client:
            echo = await client.warm("echo", f"{model}:echo", memory="512M")
            texts = [str(n) * (1 << 20) for n in range(4)]
            assert await asyncio.gather(*map(echo, texts)) == texts
            assert (await echo.call(1)).result == 1
            wrong = await client.warm("wrong", f"{model}:wrong")
            with pytest.raises(sdk.FunctionError, match="wrong raised ValueError"):
                await wrong(1)
            sleep = (await client.warm("sleep", f"{model}:sleep")).options(timeout=1)
            with pytest.raises(sdk.DeadlineError):
                await sleep(60)
            with pytest.raises(sdk.FunctionChangedError):
                await client.warm("echo", f"{model}:wrong", replace=False)

    asyncio.run(asyncio.wait_for(main(), 100))
