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
    from types import TracebackType
    from typing import Any, Self


@dataclass(frozen=True)
class Trigger:
    """When to capture: `file` (/dev/quark), `log` (a regular expression on lines of output), `after` (seconds)."""

    kind: str
    pattern: re.Pattern[bytes] | None = None
    seconds: float = 0.0

    @staticmethod
    def parse(option: str, value: str) -> Trigger:
        """From the command line's option.

        Raises:
            UsageError: the value does not fit.
        """
        kind = option.removeprefix("--ready-")
        try:
            if kind == "log":
                return Trigger(kind, pattern=re.compile(os.fsencode(value)))
            if kind == "after":
                seconds = float(value)
                if not 0 <= seconds < 86400:
                    raise ValueError
                return Trigger(kind, seconds=seconds)
        except (re.error, ValueError) as e:
            raise UsageError(
                f"{option} {value!r} is not {'a regular expression' if kind == 'log' else 'a number of seconds below a day'}"
            ) from e
        return Trigger(kind)

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
        self._timer: threading.Timer | None = None

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
            self._timer = threading.Timer(trigger.seconds, self._fire)
            self._timer.daemon = True
            self._timer.start()

    def disarm(self) -> None:
        """Ask for nothing any more: the machine may go."""
        with self._lock:
            self._vm = None
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        with self._lock:
            if self._vm is not None:
                lib.qv_post(self._vm, lib.QK_EV_CAPTURE, 0)

    def _watch(self) -> None:
        """Pass the output on; fire at the first line that matches."""
        assert self._pipe is not None  # noqa: S101 - for the type checker
        assert self._trigger is not None  # noqa: S101
        assert self._trigger.pattern is not None  # noqa: S101
        search = self._trigger.pattern.search
        pending, matched = b"", False
        while data := os.read(self._pipe[0], 65536):
            os.write(1, data)
            *lines, pending = (pending + data).split(b"\n")
            if not matched and any(search(line) for line in lines):
                matched = True
                self._fire()
