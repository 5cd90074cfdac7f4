"""The command's side of the session socket (docs/abi.md, "Session"): hands a daemon the standard streams, and waits for the sandbox's end.

Built on the C modules under `socket` and `signal`: importing those two would be a third of a clone's start.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # has no stubs
import _socket
import os

from quark.errors import DaemonLostError
from quark.outcome import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Result = TypeVar("Result")

MESSAGE_MAX = 64 << 10
PIECE = 32 << 10  # of a request
END_SECONDS = 10  # for a sandbox to follow its daemon
FORWARDED = (
    _signal.SIGINT,
    _signal.SIGTERM,
    _signal.SIGHUP,
    _signal.SIGQUIT,
    _signal.SIGWINCH,
    _signal.SIGUSR1,
    _signal.SIGUSR2,
)
LOST = "the daemon ended during the run, and the sandbox with it; its log says why, and `snapshotd` starts it again"


def connect(path: str, *, stream: bool = False) -> _socket.socket:
    """Connection to a socket of the daemon.

    Raises:
        OSError: nobody answers there.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM if stream else _socket.SOCK_SEQPACKET)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def waits_in_background(fd: int = 0) -> bool:
    """Whether `fd`, standard input, is the terminal, and this process a background job of it.

    Such a job stands still when it reads there. The daemon's process is no part of the job: it would take what is typed for the shell.
    """
    if not os.isatty(fd):
        return False
    try:
        return os.tcgetpgrp(fd) != os.getpgrp()
    except OSError:
        return False  # not the terminal that this process belongs to


def keep_terminal(call: Callable[[], Result]) -> Result:
    """`call`, and the terminal that a standard stream is as it was, however the program left it (`quark run` without a daemon: qvisor/program/terminal.c)."""
    fd = next((fd for fd in range(3) if os.isatty(fd)), None)
    if fd is None:
        return call()
    import termios

    before = termios.tcgetattr(fd)
    try:
        return call()
    finally:
        try:
            # Not from the background: whoever is in the foreground has set the terminal as it likes.
            if termios.tcgetattr(fd) != before and not waits_in_background(fd):
                termios.tcsetattr(fd, termios.TCSADRAIN, before)
        except termios.error:
            pass  # it has hung up


class Session:
    """One sandbox, over a connection, from the request to its end."""

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self.id = ""
        self.pidfd = -1
        self._impatience = 0
        self._continued = False

    def request(self, fields: list[str], fds: tuple[int, ...]) -> None:
        """Ask for a sandbox on these standard streams.

        Raises:
            DaemonLostError: the daemon is gone.
        """
        data = "\0".join(fields).encode("utf-8", "surrogateescape")
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, b"".join(fd.to_bytes(4, "little") for fd in fds))]
        try:
            self.sock.sendmsg([b"begin\0%d" % len(data)], rights if fds else [])
            for at in range(0, len(data), PIECE):
                self.sock.send(data[at : at + PIECE])
        except OSError:
            # It may have said why before it hung up.
            self._answer()
            raise DaemonLostError(LOST) from None

    def start(self) -> str:
        """Wait until the sandbox runs; its id.

        Raises:
            QuarkError: the daemon's error.
            DaemonLostError: the daemon is gone.
        """
        while not self.id:
            self._event(self._answer())
        return self.id

    def run(self, progress: Callable[[int, int], None] | None = None) -> Outcome:
        """Pass signals on and wait for the end; `progress` gets (frames dealt with, all frames) of a capture.

        Raises:
            QuarkError: the daemon's error.
            DaemonLostError: the daemon is gone; the sandbox is, too.
        """
        # The C function, so that they are received even if they were ignored: as without a daemon.
        for number in FORWARDED:
            _signal.signal(number, self._forward)
        if _signal.getsignal(_signal.SIGTSTP) != _signal.SIG_IGN:
            _signal.signal(_signal.SIGTSTP, self._forward)
            _signal.signal(_signal.SIGCONT, self._note_continued)
        while True:
            fields = self._answer()
            if fields[0] == "progress":
                if progress is not None:
                    progress(int(fields[1]), int(fields[2]))
            elif fields[0] == "stopped":
                self._suspend()
            elif fields[0] == "ended":
                status, prefetched, faults, pages = map(int, fields[1:5])
                steps = [(step, int(us)) for step, us in zip(fields[5::2], fields[6::2], strict=True)]
                return Outcome(status, steps, prefetched, faults, pages)
            else:
                self._event(fields)

    def _event(self, fields: list[str]) -> None:
        if fields[0] == "started":
            self.id = fields[1]

    def _answer(self) -> list[str]:
        """The next message; raises what it says if it is an error."""
        data, ancillary = b"", list[tuple[int, int, bytes]]()
        for _ in range(2):  # "connection reset" stands before the last message
            try:
                data, ancillary, _, _ = self.sock.recvmsg(MESSAGE_MAX, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
            except OSError:
                continue
            break
        for _, _, payload in ancillary:
            self.pidfd = int.from_bytes(payload[:4], "little")
        if not data:
            self._wait_for_end()
            raise DaemonLostError(LOST)
        fields = data.decode("utf-8", "surrogateescape").split("\0")
        if fields[0] == "error":
            from quark.errors import named_error

            raise named_error(fields[1], fields[2])
        return fields

    def _wait_for_end(self) -> None:
        """The kernel ends the sandboxes of a daemon that has died: be the last to go."""
        if self.pidfd >= 0:
            import select

            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            poll.poll(END_SECONDS * 1000)

    def _send(self, *fields: str) -> None:
        try:
            self.sock.send("\0".join(fields).encode(), _socket.MSG_DONTWAIT)
        except OSError:
            return  # it is gone, which the next answer tells

    def _forward(self, number: int, _frame: object) -> None:
        if not self.id and number != _signal.SIGWINCH:
            # The first one waits for the sandbox. Whoever sends a second one does not want to wait for a daemon that does not answer.
            self._impatience += 1
            if self._impatience > 1:
                raise SystemExit(128 + number)
        self._send("signal", str(number))

    def _note_continued(self, _number: int, _frame: object) -> None:
        self._continued = True

    def _suspend(self) -> None:
        """The program has stopped: so does this process, until it is continued.

        In the background only when standard input is something else than the terminal.
        """
        number = _signal.SIGTSTP
        while True:
            self._continued = False
            _signal.signal(number, _signal.SIG_DFL)
            os.kill(os.getpid(), number)
            # An orphaned process group is not stopped, so nobody continues it.
            if not self._continued or not waits_in_background():
                break
            number = _signal.SIGTTIN
        _signal.signal(_signal.SIGTSTP, self._forward)
        self._send("signal", str(_signal.SIGCONT))
        self._send("signal", str(_signal.SIGWINCH))
