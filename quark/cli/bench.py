"""`quark bench`: measurements of this host, with the bars they are held to."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from quark.cli.options import parse
from quark.errors import UsageError

USAGE = """\
usage: quark bench startup [--runs N] [--json FILE]

Starts the demo application (quark/bench/app.py; it needs numpy) plainly, cold in a sandbox, and as clones of a snapshot, N times each
(default 20), prints the medians and the bars, and writes all of it to FILE. Takes about two minutes; keep the machine idle.
Exit status 0 when it could be measured, whether or not every bar was reached."""


def main(args: list[str], _root: str | None) -> int:
    """Run the benchmark; returns the exit status. Its snapshots live in a temporary directory."""
    parsed = parse(args, {"--help"}, {"--runs", "--json"}, command="bench")
    if parsed.flag("--help"):
        print(USAGE)
        return 0
    if parsed.words != ["startup"]:
        raise UsageError("give what to measure: quark bench startup")
    runs = parsed.one("--runs", "20")
    if not runs.isdecimal() or not 2 <= int(runs) <= 1000:
        raise UsageError(f"--runs {runs!r} is not a number from 2 to 1000")
    try:
        import numpy  # noqa: F401, ICN001
    except ImportError:
        raise UsageError("the demo application needs numpy: pip install numpy") from None
    from quark.bench import startup

    def say(text: str) -> None:
        print(f"quark: measuring: {text}", file=sys.stderr, flush=True)

    bench = startup.Startup(int(runs), say)
    with bench.folder:
        result = bench.run()
    result["host"] = startup.host()
    print(startup.table(result))
    if parsed.flag("--json"):
        Path(parsed.one("--json")).write_text(json.dumps(result, indent=2) + "\n")
    return 0
