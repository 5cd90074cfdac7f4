"""Guest tests without pytest, for machines that have only Python: python3 -m guest_harness --help, from tests/guest."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from . import building, cases, running


def main() -> int:
    """Runs the chosen cases and prints one line each; exit status 1 when any failed."""
    parser = argparse.ArgumentParser(prog="guest_harness", description=__doc__)
    parser.add_argument(
        "--quark", default="quark run", metavar="COMMAND", help="how to run a program in a sandbox (default: quark run)"
    )
    parser.add_argument("--native-only", action="store_true", help="run on this host's Linux alone")
    parser.add_argument("--long", action="store_true", help="the longer programs of long/ too")
    parser.add_argument(
        "-k",
        dest="words",
        action="append",
        default=[],
        metavar="WORD",
        help="only cases whose name has WORD (repeatable)",
    )
    parser.add_argument(
        "--time-scale", type=float, default=1, metavar="X", help="multiply all time limits, for slow machines"
    )
    parser.add_argument(
        "--build-dir",
        type=Path,
        default=building.BUILD,
        metavar="DIR",
        help="where programs and scratch directories are",
    )
    parser.add_argument("--build-only", action="store_true", help="build the programs and stop")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are in DIR")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    options = parser.parse_args()
    chosen = [
        case
        for case in (*cases.DEFAULT, *(cases.LONG if options.long else ()))
        if not options.words or any(word in case.name for word in options.words)
    ]
    if options.list:
        print(*(case.name for case in chosen), sep="\n")
        return 0
    if not options.no_build:
        building.build_all(chosen, options.build_dir)
    if options.build_only:
        return 0
    running.prepare()
    quark_run = None if options.native_only else shlex.split(options.quark)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for case in chosen:
        start, message = time.monotonic(), ""
        try:
            running.check(case, quark_run, build=options.build_dir, scale=options.time_scale)
            verdict = "passed"
        except running.CaseFailed as failure:
            verdict, message = "failed", str(failure)
        except running.CaseSkipped as reason:
            verdict, message = "skipped", str(reason)
        counts[verdict] += 1
        print(
            f"{verdict:7} {time.monotonic() - start:6.2f} s  {case.name}",
            message,
            sep="\n" if message else "",
            flush=True,
        )
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
