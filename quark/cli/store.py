"""`quark store`: gc, fsck, stats."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from quark.cli.backend import LEFTOVER
from quark.cli.options import none
from quark.cli.output import megabytes, print_fields, print_json
from quark.cli.progress import Progress
from snapshotd.store.errors import CorruptStoreError

if TYPE_CHECKING:
    from quark.cli.context import Context
    from quark.cli.options import Parsed


def gc(context: Context, parsed: Parsed) -> int:
    """Give the space of deleted snapshots back."""
    none(parsed, context.command)
    with context.backend() as backend, Progress("collecting", quiet=context.json):
        report = backend.gc()
    if context.json:
        print_json(report)
        return 0
    print(
        f"{megabytes(report['bytes_freed'])} given back: {report['snapshots']} snapshots, {report['chunks']} chunks, "
        f"{report['leftovers']} left-over files; {report['busy']} deleted snapshots are still being read"
    )
    return 0


def fsck(context: Context, parsed: Parsed) -> int:
    """Read and verify the whole domain; 42 when there is damage."""
    none(parsed, context.command)
    with context.backend() as backend, Progress("checking the store", quiet=context.json) as progress:
        problems = backend.fsck(progress.step)
    damage = [p for p in problems if p["kind"] != LEFTOVER]
    if context.json:
        print_json(problems)
    else:
        for p in problems:
            print(f"{p['kind']}: {p['where']}: {p['what']}; {p['advice']}")
        print(
            f"{len(damage)} damaged, {len(problems) - len(damage)} left over" if problems else "all is well",
            file=sys.stderr,
        )
    return CorruptStoreError.exit_code if damage else 0


def stats(context: Context, parsed: Parsed) -> int:
    """Print the numbers."""
    none(parsed, context.command)
    with context.backend() as backend:
        data = backend.stats()
    if context.json:
        print_json(data)
    else:
        print_fields(data)
    return 0
