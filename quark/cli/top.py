"""`quark top`: live sandboxes with the memory that is theirs alone and that they share."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from quark.cli.options import none
from quark.cli.output import megabytes, print_json, print_table
from quark.cli.sandboxes import COLUMNS, RIGHT, fields, row
from quark.errors import UsageError

if TYPE_CHECKING:
    from quark.api import SandboxState
    from quark.cli.context import Context
    from quark.cli.options import Parsed
    from quark.client import Client

PAGE = 4096


def main(context: Context, parsed: Parsed) -> int:
    """Show them until Ctrl-C, or once."""
    none(parsed, context.command)
    text = parsed.one("--interval", "1")
    try:
        interval = float(text)
        if not 0.1 <= interval <= 3600:
            raise ValueError
    except ValueError:
        raise UsageError(f"--interval {text!r} is not a number of seconds from 0.1 to 3600") from None
    with context.need_client() as client:
        if context.json:
            found, totals = look(client)
            print_json({"sandboxes": [fields(s) for s in found], "totals": totals})
        elif parsed.flag("--once") or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
            found, totals = look(client)
            now = time.time_ns()
            print_table(COLUMNS, [row(s, now) for s in found], RIGHT)
            print(summary(totals))
        else:
            follow(client, interval)
    return 0


def look(client: Client) -> tuple[list[SandboxState], dict[str, Any]]:
    """The live sandboxes, the largest first, and the totals."""
    found = sorted(client.list_sandboxes(), key=lambda s: (-s.private_bytes, s.started_ns))
    statistics = client.statistics()
    return found, {
        "sandboxes": len(found),
        "private_bytes": sum(s.private_bytes for s in found),
        "images": statistics.images,
        "image_bytes": statistics.image_pages * PAGE,
        "pool_idle": statistics.pool_idle,
        "pool_prepared": statistics.pool_prepared,
        "pool_prepared_bytes": statistics.pool_prepared_bytes,
    }


def summary(totals: dict[str, Any]) -> str:
    """One line. What sandboxes share is counted once: it is in the images."""
    return (
        f"{totals['sandboxes']} sandboxes with {megabytes(totals['private_bytes'])} of their own, sharing {totals['images']} images "
        f"of {megabytes(totals['image_bytes'])}; {totals['pool_idle']} workers wait, and {totals['pool_prepared']} "
        f"prepared clones with {megabytes(totals['pool_prepared_bytes'])}"
    )


def follow(client: Client, interval: float) -> None:
    """On a terminal, until Ctrl-C."""
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    def screen() -> Group:
        found, totals = look(client)
        now = time.time_ns()
        table = Table(box=None, pad_edge=False)
        for name in COLUMNS:
            # On a narrow terminal the arguments alone are cut.
            table.add_column(name, justify="right" if name in RIGHT.split() else "left", no_wrap=name != COLUMNS[-1])
        for s in found:
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row(s, now)))
        return Group(Text(summary(totals)), Text(""), table)

    try:
        with Live(screen(), auto_refresh=False, screen=True, vertical_overflow="crop") as live:
            while True:
                time.sleep(interval)
                live.update(screen(), refresh=True)
    except KeyboardInterrupt:
        return
