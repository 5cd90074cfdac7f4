"""`quark bench`: measurements of this host, with the bars they are held to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quark.cli.options import none
from quark.errors import FileAccessError, UsageError

if TYPE_CHECKING:
    from quark.cli.context import Context
    from quark.cli.options import Parsed


def run(context: Context, parsed: Parsed) -> int:
    """Run the benchmark that the command names; returns the exit status. Its snapshots live in a temporary directory."""
    none(parsed, context.command)
    runs = parsed.one("--runs", "20")
    if not runs.isdecimal() or not 2 <= int(runs) <= 1000:
        raise UsageError(f"--runs {runs!r} is not a number from 2 to 1000")
    from quark.bench import native, snapshots, startup

    if context.command.name != "bench native":
        try:
            import numpy  # noqa: F401, ICN001
        except ImportError:
            raise UsageError("the demo application needs numpy: pip install numpy") from None

    def say(text: str) -> None:
        print(f"quark: measuring: {text}", file=sys.stderr, flush=True)

    bench: Any
    module: Any
    if context.command.name == "bench snapshots":
        module, bench = snapshots, snapshots.Snapshots(int(runs), say)
    elif context.command.name == "bench native":
        module, bench = native, native.Native(int(runs), say)
    else:
        module, bench = startup, startup.Startup(int(runs), say)
    with bench.folder:
        result = bench.run()
    result["host"] = startup.host()
    print(module.table(result))
    if parsed.flag("--json"):
        file = Path(parsed.one("--json"))
        try:
            file.write_text(json.dumps(result, indent=2) + "\n")
        except OSError as e:
            raise FileAccessError(f"{file}: {e.strerror}; give a file that can be written with --json") from e
    return 0


def main(args: list[str], _root: str | None) -> int:
    """`quark bench ARGS`, for the performance tests."""
    from quark.cli.__main__ import main as quark

    return quark(["bench", *args])
