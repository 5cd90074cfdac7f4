"""`quark attach`: the standard streams of a sandbox that a daemon runs, on this terminal or these pipes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios
import threading
import tty
from typing import TYPE_CHECKING, Any

from quark.cli.options import exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quark.api import SandboxState
    from quark.cli.context import Context
    from quark.cli.options import Parsed
    from quark.client import Attachment

DETACH = b"\x1d"  # Ctrl-]
READ = 65536
CC = 6  # index of the control characters in termios.tcgetattr's list
PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Detached(Exception):  # noqa: N818 - not an error
    """The user, or a signal, wants to leave the sandbox alone."""


def main(context: Context, parsed: Parsed) -> int:
    """Attach; returns the program's exit status, 0 if it goes on."""
    (sandbox_id,) = exactly(parsed, context.command)
    with context.need_client() as client:
        sandbox = client.sandbox(sandbox_id)
        state = sandbox.state()
        attachment = sandbox.attach()
        ours = Streams(attachment, is_tty=state.tty)
        try:
            with ours.terminal():
                for stream, data in attachment:
                    _write(1 if stream == "stdout" else 2, data)
        except Detached:
            print(f"quark: detached from {sandbox_id}; it goes on", file=sys.stderr)
            return 0
        finally:
            attachment.close()
        ended = attachment.ended
        if attachment.lost_bytes:
            print(f"quark: {attachment.lost_bytes} bytes of output were too old to be kept", file=sys.stderr)
        return status_of(ended) if ended else 0


def status_of(state: SandboxState) -> int:
    """Of a sandbox that has ended, as `quark run` gives it.

    Raises:
        QuarkError: what made it fail.
    """
    if state.error:
        from snapshotd.client import named_error

        raise named_error(state.error_class, state.error)
    return state.exit_status


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


class Streams:
    """Standard input to the sandbox, signals and window sizes too."""

    def __init__(self, attachment: Attachment, *, is_tty: bool) -> None:
        self._attachment = attachment
        self._is_tty = is_tty
        self._terminal = os.isatty(0)

    @contextlib.contextmanager
    def terminal(self) -> Iterator[None]:
        """While this is open the terminal is the sandbox's. It is as it was afterwards."""
        before = termios.tcgetattr(0) if self._terminal else None
        # A signal's default would leave the terminal as the sandbox wants it.
        for number in PASSED_ON:
            signal.signal(number, self._pass_on)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._leave)
        try:
            if before is not None:
                self._take_terminal()
            threading.Thread(target=self._input, daemon=True).start()
            yield
        finally:
            if before is not None:
                # Not TCSAFLUSH: what is typed ahead is for whoever reads next.
                termios.tcsetattr(0, termios.TCSADRAIN, before)

    def _take_terminal(self) -> None:
        if self._is_tty:
            tty.setraw(0, termios.TCSADRAIN)
            self._resize()
            signal.signal(signal.SIGWINCH, self._resize)
            return
        # Lines as usual, for pipes have no line editing of their own; but the detach key ends a line at once.
        mode: list[Any] = termios.tcgetattr(0)
        mode[CC][termios.VEOL] = DETACH
        termios.tcsetattr(0, termios.TCSADRAIN, mode)

    def _input(self) -> None:
        """The second thread."""
        while True:
            try:
                data = os.read(0, READ)
            except OSError:
                data = b""  # the terminal hung up
            if self._terminal and DETACH in data:
                self._attachment.write(data.partition(DETACH)[0])
                os.kill(os.getpid(), signal.SIGTERM)
                return
            if not data:
                self._attachment.close_stdin()
                return
            self._attachment.write(data)

    def _pass_on(self, number: int, _frame: object) -> None:
        self._attachment.signal(number)

    @staticmethod
    def _leave(_number: int, _frame: object) -> None:
        raise Detached

    def _resize(self, *_: object) -> None:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
        self._attachment.resize(rows, columns)
