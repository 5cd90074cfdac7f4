"""What `quark run --timing` prints: the restore timeline of a clone."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from quark.errors import FileAccessError

if TYPE_CHECKING:
    from quark.outcome import Outcome

PAGE_KIB = 4


def open_timing(path: str) -> int:
    """Descriptor of the file for a timeline, which is empty then.

    Raises:
        FileAccessError: it cannot be written.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as e:
        raise FileAccessError(f"{path}: {e.strerror}; give a file that can be written with --timing-file") from e


def report_timing(outcome: Outcome, *, as_json: bool, text: bool, file: int) -> None:
    """To standard error with `text`, and to the descriptor `file` if it is not -1."""
    total = sum(us for _, us in outcome.steps)
    data = {
        "steps": [{"name": step, "us": us} for step, us in outcome.steps],
        "total_us": total,
        "pages_mapped_ahead": outcome.prefetched,
        "faults": outcome.faults,
        "fault_pages": outcome.fault_pages,
        "exit_status": outcome.status,
    }
    if file >= 0:
        with open(file, "w") as f:
            f.write(json.dumps(data) + "\n")
    if text and as_json:
        print(json.dumps(data), file=sys.stderr)
    elif text:
        for step, us in outcome.steps:
            print(f"quark: {us / 1e3:9.3f} ms  {step}", file=sys.stderr)
        print(f"quark: {total / 1e3:9.3f} ms  from the request to the first output", file=sys.stderr)
        print(
            f"quark: {outcome.prefetched} pages mapped ahead, {outcome.faults} faults answered by the pager, "
            f"{outcome.fault_pages * PAGE_KIB} KiB read for them",
            file=sys.stderr,
        )
