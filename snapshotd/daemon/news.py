"""What a QVisor says in its events, checked: its guest may have taken it over, and what it says reaches callers, logs and metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from quark.errors import QuarkError, named_error
from qvisor import confinement

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILURES = {
    "QuarkError",
    "GuestPanicError",
    "VmError",
    "PagerLostError",
    "UserfaultfdError",
    "KernelImageError",
    "FileAccessError",
    "ConfinementError",
}
"""Those of qvisor/program/fail.c."""
STEPS = {
    "attach to the image",
    "check the files",
    "start QVisor",
    "create the machine",
    "confine",
    "map the image",
    "register userfaultfd",
    "set the machine's state",
    "wait for the working set",
    "map the working set",
    "take the request",
    "confine to the request",
    "run to the first output",
}
"""Of a clone's way to its first output. Each is a label of metrics: there are no others."""
STEPS_MAX = 24  # of timeline.c
TEXT_MAX = 8320  # of fail.c
COUNT_MAX = (1 << 63) - 1
MICROSECONDS_MAX = 10**14  # three years: a sum of them in nanoseconds is a 64-bit number
GENERATION = re.compile("[0-9a-f]{32}")


def number(text: str, most: int) -> int:
    """A number up to `most`.

    Raises:
        ValueError: it is none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and int(text) <= most):
        raise ValueError(f"{text[:40]!a} is no number up to {most}")
    return int(text)


def plain(text: str) -> str:
    """Text for a terminal: without control characters, but for newlines and tabs; and not endless."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text[:TEXT_MAX])


def start(generation: str, confined_by: str) -> tuple[str, list[str]]:
    """Of `started`: the generation, and the words of what confines it.

    Raises:
        ValueError: QVisor cannot say so; here and below.
    """
    if not GENERATION.fullmatch(generation):
        raise ValueError("that is no generation")
    return generation, confinement.parts(number(confined_by, COUNT_MAX))


def end(status: str, reason: str, counts: Sequence[str]) -> tuple[int, str, tuple[int, int, int]]:
    """Of `ended`: the status, why the guest killed the program, pages mapped ahead, faults and their pages."""
    prefetched, faults, pages = (number(text, COUNT_MAX) for text in counts)
    return number(status, 255), plain(reason), (prefetched, faults, pages)


def timeline(fields: Sequence[str]) -> list[tuple[str, int]]:
    """Of `ended`: (step, microseconds) of a clone."""
    steps = list(zip(fields[::2], fields[1::2], strict=True))
    if len(steps) > STEPS_MAX or not STEPS.issuperset(step for step, _ in steps):
        raise ValueError("these are no steps of a clone")
    return [(step, number(us, MICROSECONDS_MAX)) for step, us in steps]


def failure(kind: str, message: str) -> QuarkError:
    """Of `failed`."""
    if kind not in FAILURES:
        raise ValueError(f"{kind[:40]!a} is no failure of its")
    return named_error(kind, plain(message))
