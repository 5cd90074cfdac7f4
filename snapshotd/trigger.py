"""When a program is captured, and what watches for that moment while it runs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from quark.errors import CaptureError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


READ = 65536  # bytes of output at a time
LINE_MAX = 65536  # bytes of a line that are kept to be looked at together
PATTERN_MAX = 4096  # characters: such a one compiles in milliseconds


def compile_pattern(text: str) -> re.Pattern[bytes]:
    """A regular expression for lines of output.

    Raises:
        ValueError: it is none, or too long; says what is wrong.
    """
    if len(text) > PATTERN_MAX:
        raise ValueError(f"has {len(text)} characters; a regular expression has {PATTERN_MAX} at most")
    try:
        return re.compile(os.fsencode(text))
    except (re.error, OverflowError, RecursionError) as e:
        raise ValueError(f"is not a regular expression: {e}") from e


def watch_lines(source: int, target: int, search: Callable[[bytes], object], fire: Callable[[], None]) -> None:
    """Pass what comes from one descriptor on to another until its end; call `fire` at the first line that `search` finds something in.

    A guest may write a line without end: of one longer than LINE_MAX each so many bytes are looked at for themselves.
    """
    pending, matched = b"", False
    while data := os.read(source, READ):
        left = memoryview(data)
        while left:
            left = left[os.write(target, left) :]
        if matched:
            continue
        *lines, pending = (pending + data).split(b"\n")
        if len(pending) >= LINE_MAX:
            lines.append(pending)
            pending = b""
        if any(search(line) for line in lines):
            matched = True
            fire()


@dataclass(frozen=True)
class Trigger:
    """When to capture: `file` (/dev/quark), `log` (a regular expression on lines of output), `after` (seconds)."""

    kind: str
    pattern: re.Pattern[bytes] | None = None
    seconds: float = 0.0
    timeout: float = 0.0  # seconds until it is given up; 0: never

    @staticmethod
    def parse(option: str, value: str) -> Trigger:
        """From the command line's option.

        Raises:
            UsageError: the value does not fit.
        """
        kind = option.removeprefix("--ready-")
        if kind == "log":
            try:
                return Trigger(kind, pattern=compile_pattern(value))
            except ValueError as e:
                raise UsageError(f"{option} {value[:80]!r} {e}") from e
        if kind == "after":
            try:
                seconds = float(value)
            except ValueError:
                seconds = -1
            if not 0 <= seconds < 86400:
                raise UsageError(f"{option} {value[:80]!r} is not a number of seconds below a day")
            return Trigger(kind, seconds=seconds)
        return Trigger(kind)

    def late(self) -> CaptureError:
        """The error of a program that took too long."""
        return CaptureError(
            f"the program did not reach its capture point (--ready-{self.kind}) within {self.timeout:g} s (--timeout); nothing was stored"
        )

    def missed(self, status: int) -> CaptureError:
        """The error of a program that ended with `status` before its moment."""
        return CaptureError(
            f"the program ended with status {status} before its capture point (--ready-{self.kind}); nothing was stored"
        )
