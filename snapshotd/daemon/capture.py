"""A capture as the daemon sees it: its storer, the process that writes it, and the news from there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from quark.errors import CaptureError, QuarkError, named_error
from snapshotd import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapshotd.daemon.pool import Pool, Process

log = logging.getLogger("snapshotd")
STILL_SECONDS = 30.0
KILLED = "the process that stores the capture was killed; nothing was stored"


class Capture:
    """A capture under way: progress, and how it ended. All on the event loop's thread."""

    def __init__(self) -> None:
        self.done, self.total = 0, 0
        self.changed = asyncio.Event()
        self.finished = False
        self.given_up = False  # nobody waits for it any more
        self.ready = asyncio.Event()  # the store takes such a snapshot
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()  # its storer, too
        self.cleaned = asyncio.Event()  # what a given up one has written is gone
        self.error: QuarkError | None = None
        self.missed: QuarkError | None = None  # the machine ended before it could be captured
        self.begun = False
        self.on_matched: Callable[[], None] = lambda: None
        self.on_gone: Callable[[], None] = lambda: None
        self._deadline: asyncio.TimerHandle | None = None  # by which the machine stands still
        self._storer: Process | None = None
        self._machine: socket.socket | None = None  # the end that the machine's process is to have

    def end(self, error: QuarkError | None = None) -> None:
        """The last news."""
        if not self.finished:
            self.finished, self.error = True, error
            self.changed.set()
            self.ended.set()

    async def begin(self, pool: Pool, job: dict[str, Any], fds: tuple[int, ...]) -> None:
        """Have a storer do the job; `fds` go along (snapshotd/storer.py), and stay the caller's.

        Raises:
            QuarkError: there is none.
        """
        storer = await pool.storer()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        fd = os.memfd_create("quark-capture", os.MFD_CLOEXEC)
        try:
            os.write(fd, json.dumps(job).encode())
            wire.send(storer.sock, ["job"], (fd, theirs.fileno(), *fds))
        except OSError as e:
            ours.close()
            storer.close()
            raise CaptureError(KILLED) from e
        finally:
            os.close(fd)
            theirs.close()
        self.begun = True
        self._storer, self._machine = storer, ours
        asyncio.get_running_loop().add_reader(storer.sock, self._event)

    def hand_over(self, sandbox: socket.socket) -> None:
        """Have the sandbox's process stand still for the storer; once. A guest may not do so: for that there is a deadline."""
        if self._machine is not None:
            self._deadline = asyncio.get_running_loop().call_later(STILL_SECONDS, self._late)
            with contextlib.suppress(OSError):  # it has ended: the storer notices
                wire.send(sandbox, ["capture"], (self._machine.fileno(),))
            self.drop()

    def _late(self) -> None:
        self.end(
            CaptureError(
                f"the sandbox did not stand still within {STILL_SECONDS:.0f} s, it may wait for files of the host; try again"
            )
        )
        self.cancel()

    def drop(self) -> None:
        """There is no machine (any more) to be handed over."""
        if self._machine is not None:
            self._machine.close()
            self._machine = None

    def cancel(self) -> None:
        """Give it up; the storer cleans up, and says so."""
        if self._storer is not None:
            with contextlib.suppress(OSError):
                self._storer.sock.send(b"cancel")
        else:
            self.end(CaptureError("the capture was given up; nothing was stored"))

    def _event(self) -> None:
        assert self._storer is not None  # noqa: S101 - for the type checker
        data = wire.receive_now(self._storer.sock)
        if data is None:
            return
        if not data:
            self._gone()
            return
        event = json.loads(data)
        if event["event"] == "ready":
            self.ready.set()
        elif event["event"] == "matched":
            self.on_matched()
        elif event["event"] == "still":
            self._stop_clock()
        elif event["event"] == "progress":
            self.done, self.total = event["done"], event["total"]
            self.changed.set()
        elif event["event"] == "captured":
            self.end()
        else:
            self._failed(event)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _failed(self, event: dict[str, Any]) -> None:
        error = named_error(event["kind"], event["message"])
        if "traceback" in event:
            log.error("capture failed", extra={"traceback": event["traceback"]})
        if event.get("missed"):
            self.missed = error  # who knows how the sandbox ended says more
        else:
            self.end(error)

    def _gone(self) -> None:
        assert self._storer is not None  # noqa: S101 - for the type checker
        asyncio.get_running_loop().remove_reader(self._storer.sock)
        self._storer.close()
        self._storer = None
        self._stop_clock()
        self.drop()
        if self.missed is None:
            self.end(CaptureError(KILLED))  # unless it has ended
        self.gone.set()
        self.on_gone()
