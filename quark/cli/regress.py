"""`quark bench regress`: finds out what to measure, and against what."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from quark.errors import UsageError

if TYPE_CHECKING:
    from quark.bench.arms import Arm
    from quark.bench.regress import Report
    from quark.cli.context import Context
    from quark.cli.options import Parsed
    from snapshotd.store import Store


# What two revisions are compared in: the arm, the figure, its unit.
MS = ("ms", 1e3)
REVISIONS = (
    ("clone", "request to first output", MS),
    ("daemon", "through a daemon, to the first output", MS),
    ("prepared", "the same, after a pause", MS),
    ("outside", "QVisor's private memory beside RAM", ("KiB", 2**-10)),
)


def main(context: Context, parsed: Parsed) -> int:
    """Measure a snapshot, or without one the demo application; the exit status is the verdict's."""
    from quark.bench import regress

    if len(parsed.words) > 1:
        raise UsageError(f"{parsed.words[1]!r} is too much; see quark {context.command.name} --help")
    name = parsed.words[0] if parsed.words else ""
    against, record = parsed.one("--against"), parsed.one("--record")
    if not against and not record:
        raise UsageError(
            "say with what to compare, --against FILE, SNAPSHOT or REVISION, or where to begin a record, --record FILE"
        )
    with ExitStack() as stack:
        if against and not Path(against).exists():
            if record:
                raise UsageError(
                    "--record keeps ratios to baselines, which --against a snapshot or a revision does not measure"
                )
            report = _side_by_side(context, name, against, parsed.rest, stack)
        else:
            report = _against_record(context, name, against or record, parsed.rest, stack)
        return regress.finish(report, json_file=parsed.one("--json"), record=record)


def _against_record(context: Context, name: str, file: str, args: list[str], stack: ExitStack) -> Report:
    from quark.bench import regress
    from quark.bench.arms import Arm
    from quark.bench.figures import Demo
    from quark.bench.history import History

    history = History(Path(file))
    if not name:
        return regress.against_record(stack.enter_context(Demo()).figures(), history, regress.say)
    _store(context, stack).get(name)
    figures = {name: lambda c: c.add(_clone(context, name, args), Arm("empty"))}
    return regress.against_record(figures, history, regress.say)


def _side_by_side(context: Context, name: str, against: str, args: list[str], stack: ExitStack) -> Report:
    from quark.bench import regress, revision
    from quark.bench.arms import PACKAGES, Arm
    from quark.bench.figures import APP, NAME

    store = _store(context, stack) if name else None
    if store is not None and any(info.name == against for info in store.list(against)):
        store.get(name)
        return regress.side_by_side(lambda: _clone(context, name, args), lambda: _clone(context, against, args))
    other = revision.packages(against)
    options: list[str] = []
    argv = [sys.executable, str(APP)]
    if store is not None:
        argv, options = _spec(store, name)
    else:
        args = ["5"]
    roots = []
    for packages in (PACKAGES, other):
        root = stack.enter_context(tempfile.TemporaryDirectory(prefix="quark-regress-"))
        regress.say(f"a snapshot by the build in {os.path.relpath(packages)}")
        command = [sys.executable, "-P", "-m", "quark.cli", "--root", root]
        environment = {**os.environ, "PYTHONPATH": str(packages)}
        create = [*command, "snapshot", "create", NAME, "--ready-file", *options, "--", *argv]
        subprocess.run(create, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
        # The first clone records the working set.
        subprocess.run(
            [*command, "run", "--from-snapshot", NAME, "--", *args],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        roots.append(root)
    reports = []
    for kind, figure, unit in REVISIONS:
        regress.say(f"both builds in turn: {figure}")
        ours, theirs = (
            partial(Arm, kind, root, "default", NAME, *args, packages=packages)
            for root, packages in zip(roots, (PACKAGES, other), strict=True)
        )
        reports.append(regress.side_by_side(ours, theirs, figure=figure, unit=unit))
    return regress.Report([line for r in reports for line in r.lines], {})


def _store(context: Context, stack: ExitStack) -> Store:
    from snapshotd.keys import load_key
    from snapshotd.store import Store

    store = Store.open(Path(context.root), create=False, domain=context.library_domain, key=load_key(context.key))
    stack.callback(store.close)
    return store


def _clone(context: Context, name: str, args: list[str]) -> Arm:
    from quark.bench.arms import Arm

    return Arm("clone", context.root, context.library_domain, name, *args)


def _spec(store: Store, name: str) -> tuple[list[str], list[str]]:
    """How to capture a snapshot again: its program, and options of `snapshot create`."""
    from snapshotd.metadata import Metadata

    meta = Metadata.load(store.get(name).meta)
    spec = meta.spec
    if meta.trigger != "file":
        raise UsageError(
            f"snapshot {name!r} was not captured with --ready-file: another build cannot capture it at the same point"
        )
    options = [
        "--memory",
        str(spec["memory"]),
        "--rootfs",
        spec["rootfs"],
        "--cwd",
        spec["cwd"],
        "--ring",
        spec["ring"],
    ]
    for key, value in spec["env"].items():
        options += ["--env", f"{key}={value}"]
    for source, target, read_only, *slot in spec["volumes"]:
        if slot:
            raise UsageError(f"snapshot {name!r} has volume slots, which another build may not know")
        options += ["--volume", f"{source}:{target}{':ro' if read_only else ''}"]
    return spec["argv"], options
