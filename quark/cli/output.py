"""How results look: tables and key-value lists for people, JSON for programs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def print_json(data: Any) -> None:
    """One document on one line."""
    print(json.dumps(data))


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], right: str = "") -> None:
    """Columns as wide as they need to be; those whose heading is among the words `right` stand on the right."""
    found = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*found, strict=True)]
    aligned = [name in right.split() for name in head]
    for row in found:
        cells = [f"{c:>{w}}" if r else f"{c:<{w}}" for c, w, r in zip(row, widths, aligned, strict=True)]
        print("  ".join(cells).rstrip())


def print_fields(data: dict[str, Any]) -> None:
    """A line a field."""
    for key, value in data.items():
        text = " ".join(map(str, value)) if isinstance(value, list) else "-" if value in (None, "") else str(value)
        print(f"{key:<20} {text}")


def megabytes(size: float) -> str:
    """Of bytes; MB is a million."""
    return f"{size / 1e6:.1f} MB"


def local_time(ns: int) -> str:
    """Of nanoseconds since 1970 UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ns / 1e9))


def age(seconds: float) -> str:
    """Short: 5s, 3m, 2h, 9d."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"
