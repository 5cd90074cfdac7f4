"""`quark attach`: the standard streams of a sandbox that a daemon runs, on this terminal or these pipes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import struct
import sys
import termios
import threading
import tty
from typing import TYPE_CHECKING, Any

from quark.cli.options import exactly
from quark.cli.run import open_missing_streams
from quark.errors import FileAccessError, QuarkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quark.api import SandboxState
    from quark.cli.context import Context
    from quark.cli.options import Parsed
    from quark.client import Attachment

DETACH = b"\x1d"  # Ctrl-]
READ = 65536
CC = 6  # index of the control characters in termios.tcgetattr's list
LEAVE = {signal.SIGTERM, signal.SIGHUP}
SIGNALS = LEAVE | {signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}


def main(context: Context, parsed: Parsed) -> int:
    """Attach; returns the program's exit status, 0 if it goes on."""
    (sandbox_id,) = exactly(parsed, context.command)
    open_missing_streams()
    # In all threads, also those that gRPC makes: a thread of ours waits for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    streams = Streams()
    threading.Thread(target=streams.signals, daemon=True).start()
    with context.need_client() as client:
        sandbox = client.sandbox(sandbox_id)
        state = sandbox.state()
        attachment = sandbox.attach()
        try:
            with streams.terminal(attachment, is_tty=state.tty):
                for stream, data in attachment:
                    _write(1 if stream == "stdout" else 2, data)
        except QuarkError:
            if not streams.detached.is_set():
                raise
            print(f"quark: detached from {sandbox_id}; it goes on", file=sys.stderr)
            return 0
        finally:
            attachment.close()
        if attachment.lost_bytes:
            print(f"quark: {attachment.lost_bytes} bytes of output were too old to be kept", file=sys.stderr)
        return status_of(attachment.ended) if attachment.ended else 0


def status_of(state: SandboxState) -> int:
    """Of a sandbox that has ended, as `quark run` gives it.

    Raises:
        QuarkError: what made it fail.
    """
    if state.error:
        from quark.errors import named_error

        raise named_error(state.error_class, state.error)
    return state.exit_status


def _nothing_to_say() -> bool:
    """Standard input is /dev/null, also in the place of none (a service, a job in the background): whoever attaches like this only listens."""
    return stat.S_ISCHR(os.fstat(0).st_mode) and not os.isatty(0)


def _write(fd: int, data: bytes) -> None:
    """All of it. A stream that the caller closed gets nothing.

    Raises:
        FileAccessError: it does not take it.
    """
    try:
        while data:
            data = data[os.write(fd, data) :]
    except BrokenPipeError:
        raise
    except OSError as e:
        if e.errno != errno.EBADF:
            raise FileAccessError(
                f"standard {'output' if fd == 1 else 'error'}: {e.strerror}; the sandbox goes on"
            ) from e


class Streams:
    """Standard input, signals and window sizes on their way to the sandbox. Each has a thread: this process's first one writes its output."""

    def __init__(self) -> None:
        self.detached = threading.Event()
        self._attachment: Attachment | None = None
        self._is_tty = False
        self._terminal = os.isatty(0)

    @contextlib.contextmanager
    def terminal(self, attachment: Attachment, *, is_tty: bool) -> Iterator[None]:
        """While this is open the terminal is the sandbox's. It is as it was afterwards."""
        self._attachment, self._is_tty = attachment, is_tty
        before = termios.tcgetattr(0) if self._terminal else None
        try:
            if before is not None:
                self._take_terminal(attachment)
            threading.Thread(target=self._input, args=(attachment,), daemon=True).start()
            yield
        finally:
            if before is not None:
                # Not TCSAFLUSH: what is typed ahead is for whoever reads next.
                termios.tcsetattr(0, termios.TCSADRAIN, before)

    def _take_terminal(self, attachment: Attachment) -> None:
        if self._is_tty:
            tty.setraw(0, termios.TCSADRAIN)
            self._resize(attachment)
            return
        # Lines as usual, for pipes have no line editing of their own; but the detach key ends a line at once.
        mode: list[Any] = termios.tcgetattr(0)
        mode[CC][termios.VEOL] = DETACH
        termios.tcsetattr(0, termios.TCSADRAIN, mode)

    def _input(self, attachment: Attachment) -> None:
        while True:
            try:
                data = os.read(0, READ)
            except OSError:
                data = b""  # the terminal hung up
            if self._terminal and DETACH in data:
                attachment.write(data.partition(DETACH)[0])
                self._detach(attachment)
                return
            if not data:
                if not _nothing_to_say():
                    attachment.close_stdin()
                return
            attachment.write(data)

    def signals(self) -> None:
        """Wait for signals and pass them on."""
        while True:
            number = signal.sigwait(SIGNALS)
            attachment = self._attachment
            if attachment is None:
                if number != signal.SIGWINCH:
                    os._exit(128 + number)  # still connecting, and nothing is changed
            elif number in LEAVE:
                self._detach(attachment)
            elif number != signal.SIGWINCH:
                attachment.signal(number)
            elif self._is_tty and self._terminal:
                self._resize(attachment)

    def _detach(self, attachment: Attachment) -> None:
        self.detached.set()
        attachment.close()

    @staticmethod
    def _resize(attachment: Attachment) -> None:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
        attachment.resize(rows, columns)
