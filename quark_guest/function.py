"""Runs in a sandbox: imports a function, offers the capture point, then calls it once in each clone.

Usage: function.py FILE.py|MODULE NAME json|pickle DIGEST. A clone reads on standard input the number of bytes of its arguments, a newline, and these: a
pair of list and dictionary. It writes on standard output a line of JSON, {"raised": bool, "size": N, "stdout": M}, then N bytes, the result or what is
known of the exception, and M bytes that the function wrote on standard output. After every WINDOW bytes it waits for one byte of standard input: nobody
between here and the caller has to keep more. The function's standard error is the sandbox's; its standard input is empty.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import json
import os
import pickle
import select
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

WINDOW = 1 << 19
PATIENCE = 60  # seconds, for a caller that is gone


def load(source: str, name: str) -> Any:
    """The function."""
    if not source.endswith(".py"):
        return getattr(importlib.import_module(source), name)
    sys.path.insert(0, str(Path(source).parent))
    spec = importlib.util.spec_from_file_location(Path(source).stem, source)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


def read_request(fd: int, serializer: str) -> tuple[list[Any], dict[str, Any]]:
    """The arguments."""
    with open(fd, "rb", closefd=False) as stream:
        data = stream.read(int(stream.readline()))
    args, kwargs = pickle.loads(data) if serializer == "pickle" else json.loads(data)  # noqa: S301 - the caller's choice
    return args, kwargs


def call(function: Any, serializer: str, fd: int) -> tuple[bool, bytes]:
    """Whether it raised, and the bytes of the answer."""
    try:
        args, kwargs = read_request(fd, serializer)
        result = function(*args, **kwargs)
        if inspect.isawaitable(result):
            result = asyncio.run(awaited(result))
        return False, pickle.dumps(result) if serializer == "pickle" else json.dumps(result).encode()
    except Exception as e:  # noqa: BLE001 - whatever it raises is its answer
        return True, json.dumps(describe(e)).encode()


async def awaited(result: Any) -> Any:
    """What an asynchronous function returns."""
    return await result


def describe(e: Exception) -> dict[str, Any]:
    """What is known of an exception."""
    try:
        args = json.loads(json.dumps(e.args))
    except (TypeError, ValueError):
        args = None
    try:
        pickled = pickle.dumps(e).hex()
    except Exception:  # noqa: BLE001 - there are many ways not to be picklable
        pickled = ""
    kind = type(e)
    return {
        "kind": kind.__qualname__,
        "module": kind.__module__,
        "message": str(e),
        "args": args,
        "pickle": pickled,
        "traceback": traceback.format_exc(),
    }


def answer(parts: list[bytes | memoryview], out: int, acknowledgements: int) -> None:
    """Write the parts, a window at a time."""
    room = WINDOW
    for part in parts:
        data = memoryview(part)
        while data:
            if not room:
                if not select.select([acknowledgements], [], [], PATIENCE)[0] or not os.read(acknowledgements, 1):
                    os._exit(1)
                room = WINDOW
            written = os.write(out, data[:room])
            data, room = data[written:], room - written


def main() -> NoReturn:
    """Warm up, wait, answer."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import quark_guest

    source, name, serializer = sys.argv[1:4]
    requests, answers, written = os.dup(0), os.dup(1), os.memfd_create("stdout")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)  # of the import
    function = load(source, name)
    if not callable(function):
        raise TypeError(f"{name} in {source} is no function")
    sys.stdout.flush()
    os.dup2(written, 1)
    quark_guest.ready()
    raised, data = call(function, serializer, requests)
    sys.stdout.flush()
    size = os.fstat(written).st_size
    head = json.dumps({"raised": raised, "size": len(data), "stdout": size}).encode() + b"\n"
    answer([head, data, os.pread(written, size, 0)], answers, requests)
    quark_guest.finish()


if __name__ == "__main__":
    main()
