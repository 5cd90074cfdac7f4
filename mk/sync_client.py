"""Writes the synchronous SDK (quark/client.py) from the asynchronous one (quark/aio.py), or checks that it is what comes of it.

Usage: python mk/sync_client.py [--check]
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "quark"
SOURCE, RESULT = PACKAGE / "aio.py", PACKAGE / "client.py"
FIRST = '"""The synchronous SDK: `quark.connect()`. Generated from aio.py by mk/sync_client.py (make docs): change that one."""'

# Patterns, in this order, and what they become.
RULES = (
    (r'\A""".*"""$', FIRST),
    (r"^import asyncio\n", ""),
    (r"^import contextlib\n", "import contextlib\nimport queue\n"),
    (r"^import grpc\.aio\n", ""),
    (r"grpc\.aio\.AioRpcError", "grpc.RpcError"),
    (r"grpc\.aio\.", "grpc."),
    (r"in an `async with`, or close it. One event loop.", "in a `with`, or close it. Threads may share it."),
    (r"import AsyncIterator, Callable, Iterator", "import Callable, Iterator"),
    (r"AsyncIterator", "Iterator"),
    (r"__a(enter|exit|iter)__", r"__\1__"),
    (r"asyncio\.Queue", "queue.SimpleQueue"),
    (r"\.put_nowait\(", ".put("),
    (r"await asyncio\.to_thread\((\w+), ", r"\1("),
    (r"self\._channel\.close\(None\)", "self._channel.close()"),
    (r"(self\._call\.cancel\(\))", r"\1  # type: ignore[no-untyped-call]"),
    (r"\(\s*await ([\w.]+\((?:[^()]|\([^()]*\))*\))\s*\)\.", r"\1."),
    (r"\bawait ", ""),
    (r"\basync (def|for|with)\b", r"\1"),
)


def synchronous(text: str) -> str:
    """The same without coroutines, formatted."""
    for pattern, result in RULES:
        text, count = re.subn(pattern, result, text, flags=re.MULTILINE)
        if not count:
            sys.exit(f"{SOURCE.name}: nothing matches {pattern!r} of {Path(__file__).name} any more")
    ruff = [str(Path(sys.executable).with_name("ruff")), "format", "-", "--stdin-filename", str(RESULT)]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Write or check; returns the exit status."""
    wanted = synchronous(SOURCE.read_text())
    if "--check" not in sys.argv:
        RESULT.write_text(wanted)
    elif RESULT.read_text() != wanted:
        print("quark/client.py is not what comes of quark/aio.py: make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
