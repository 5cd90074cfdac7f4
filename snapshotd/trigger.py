"""When a program is captured, and what watches for that moment while it runs."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass

from quark.errors import CaptureError, UsageError
from qvisor._native import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self


READ = 65536  # bytes of output at a time
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
    """Pass what comes from one descriptor on to another until its end; call `fire` at the first line that `search` finds something in."""
    pending, matched = b"", False
    while data := os.read(source, READ):
        left = memoryview(data)
        while left:
            left = left[os.write(target, left) :]
        *lines, pending = (pending + data).split(b"\n")
        if not matched and any(search(line) for line in lines):
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


class CapturePoint:
    """Makes a cold sandbox park when its trigger's moment has come; without a trigger it never does. Use it in a `with` around the sandbox's."""

    def __init__(self, trigger: Trigger | None) -> None:
        self._trigger = trigger
        self._vm: Any = None
        self._lock = threading.Lock()  # a machine that is gone must not be asked
        self._pipe: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._timers: list[threading.Timer] = []
        self.late = False

    def __enter__(self) -> Self:
        if self._trigger is not None and self._trigger.pattern is not None:
            self._pipe = os.pipe2(os.O_CLOEXEC)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disarm()
        if self._pipe is not None:
            os.close(self._pipe[1])
            if self._thread is not None:
                self._thread.join()
            os.close(self._pipe[0])

    @property
    def stdio(self) -> tuple[int, int, int]:
        """The sandbox's standard streams: its output passes through here when a line of it is the moment."""
        return (0, self._pipe[1], self._pipe[1]) if self._pipe else (0, 1, 2)

    def arm(self, vm: Any) -> None:
        """Begin to watch, for a machine that is about to run."""
        self._vm = vm
        trigger = self._trigger
        if trigger is None:
            return
        lib.qv_want_ready(vm, trigger.kind == "file")
        if trigger.kind == "log":
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        elif trigger.kind == "after":
            self._after(trigger.seconds, self._fire)
        if trigger.timeout:
            self._after(trigger.timeout, self._give_up)

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def disarm(self) -> None:
        """Ask for nothing any more: the machine may go."""
        with self._lock:
            self._vm = None
        for timer in self._timers:
            timer.cancel()

    def _give_up(self) -> None:
        with self._lock:
            if self._vm is not None:
                self.late = True
                lib.qv_stop(self._vm)

    def _fire(self) -> None:
        with self._lock:
            if self._vm is not None:
                lib.qv_post(self._vm, lib.QK_EV_CAPTURE, 0)

    def _watch(self) -> None:
        """Pass the output on; fire at the first line that matches."""
        assert self._pipe is not None  # noqa: S101 - for the type checker
        assert self._trigger is not None  # noqa: S101
        assert self._trigger.pattern is not None  # noqa: S101
        watch_lines(self._pipe[0], 1, self._trigger.pattern.search, self._fire)
