"""A capture as the daemon sees it: its storer, the process that writes it, and the news from there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from quark.errors import CaptureError, QuarkError, named_error
from snapshotd import wire
from snapshotd.daemon.lifecycles import CAPTURE, Lived
from snapshotd.daemon.lifecycles import Capture as Life
from snapshotd.daemon.lifecycles import CaptureEvent as Event
from snapshotd.daemon.waiting import first_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from snapshotd.daemon.pool import Pool, Process
    from snapshotd.start import Ready

log = logging.getLogger("snapshotd")
STILL_SECONDS = 30.0
# A storer that says nothing for so long (the longest it has to do in between is to have it all on the disk) waits for what does not come; until its end the
# sandbox cannot end either.
SILENT_SECONDS = 600.0
# A machine waits so long for a storer that asks nothing, which the kernel cannot end then. The longest it has to do in between is to hash a large file.
UNASKED_SECONDS = 3600
GIVE_UP_SECONDS = 10.0  # for a storer to notice that it was given up
LATE = f"the sandbox did not stand still within {STILL_SECONDS:.0f} s, it may wait for files of the host; try again"
KILLED = "the process that stores the capture was killed; nothing was stored"


def machine_sockets() -> tuple[socket.socket, socket.socket]:
    """Between a machine's process and a storer, in this order.

    The first does not wait for ever for the second (SO_RCVTIMEO, socket(7)): a process that not even the kernel can end holds up no end of a sandbox.
    """
    machine, storer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        machine.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", UNASKED_SECONDS, 0))
    return machine, storer


class Origin:
    """What a machine was made from, which its captures say: its specification, of a clone its snapshot and the table of files that it depends on."""

    def __init__(self, ready: Ready) -> None:
        self.spec = ready.spec.to_dict()
        self.parent = ready.parent
        self.known = ready.take_known()

    def close(self) -> None:
        """Let go of the table; harmless when done before."""
        if self.known[0] >= 0:
            os.close(self.known[0])
        self.known = (-1, 0, 0)


class Capture(Lived[Life, Event]):
    """A capture under way: progress, and how it ended. All on the event loop's thread; lifecycles.py has its states."""

    def __init__(self) -> None:
        super().__init__(CAPTURE, Life.NEW)
        self.done, self.total = 0, 0
        self.changed = asyncio.Event()
        self.given_up = False  # nobody waits for it any more
        self.ready = asyncio.Event()  # the store takes such a snapshot
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()  # its storer, too
        self.cleaned = asyncio.Event()  # what a given up one has written is gone
        self.error: QuarkError | None = None
        self.missed: QuarkError | None = None  # the machine ended before it could be captured
        self.on_matched: Callable[[], None] = lambda: None
        self.on_gone: Callable[[], None] = lambda: None
        # By which the machine stands still, or its storer says something, or ends.
        self._deadline: asyncio.TimerHandle | None = None
        self._cancelled = False
        self._storer: Process | None = None
        self._machine: socket.socket | None = None  # the end that the machine's process is to have

    @property
    def finished(self) -> bool:
        """Whether it is known how it ended."""
        return self.life in {Life.DECIDED, Life.DECIDED_EARLY, Life.GONE}

    @property
    def begun(self) -> bool:
        """Whether there was a storer."""
        return self.life not in {Life.NEW, Life.DECIDED_EARLY}

    # ---- what others do

    async def order(
        self,
        pool: Pool,
        job: dict[str, Any],
        origin: Origin | None,
        watched: tuple[int, ...],
        pattern: str | None = None,
    ) -> None:
        """Have a storer do the job (snapshotd/storer.py), and wait until it has begun. It looks for `pattern` in what comes from `watched`.

        The descriptors stay the caller's.

        Raises:
            QuarkError: it cannot be.
        """
        assert origin is not None  # noqa: S101 - for the type checker
        whole = {
            field: job[field]
            for field in ("root", "domain", "key", "name", "flat", "self_contained", "trigger", "create")
        }
        known, *place = origin.known
        whole |= {
            "spec": origin.spec,
            "parent": origin.parent,
            "known": place if known >= 0 else None,
            "pattern": pattern,
        }
        own = (os.dup(known),) if known >= 0 else ()  # the sandbox may end meanwhile
        try:
            await self._begin(pool, whole, (*own, *watched))
        finally:
            for fd in own:
                os.close(fd)
        await first_of(self.ready, self.ended, self.gone)
        if self.error is not None:
            raise self.error

    async def _begin(self, pool: Pool, job: dict[str, Any], fds: tuple[int, ...]) -> None:
        storer = await pool.storer()
        ours, theirs = machine_sockets()
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
        self._storer, self._machine = storer, ours
        asyncio.get_running_loop().add_reader(storer.sock, self._hear)
        self.happens(Event.BEGIN)
        if self.life is Life.ASKED:
            self._await_news(SILENT_SECONDS)

    def end(self, error: QuarkError | None = None) -> None:
        """The last news, unless there was one."""
        self.happens(Event.END, error)

    def hand_over(self, sandbox: socket.socket) -> None:
        """Have the sandbox's process stand still for the storer; once."""
        self.happens(Event.HAND_OVER, sandbox)

    def drop(self) -> None:
        """There is no machine (any more) to be handed over."""
        self.happens(Event.DROP)

    def cancel(self) -> None:
        """Give it up; the storer cleans up, and says so."""
        self.happens(Event.CANCEL)

    # ---- what is done about it

    def _decide(self, error: QuarkError | None = None) -> None:
        self.error = error
        self._note_news(None)
        self.changed.set()
        self.ended.set()

    def _give_up(self) -> None:
        self._decide(CaptureError("the capture was given up; nothing was stored"))

    def _decide_late(self) -> None:
        self._decide(CaptureError(LATE))
        self._cancel()

    def _cancel(self) -> None:
        assert self._storer is not None  # noqa: S101 - for the type checker
        with contextlib.suppress(OSError):
            self._storer.sock.send(b"cancel")
        self._cancelled = True
        self._await_news(GIVE_UP_SECONDS)

    def _await_news(self, seconds: float) -> None:
        self._stop_clock()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._end_storer)

    def _end_storer(self) -> None:
        assert self._storer is not None  # noqa: S101 - for the type checker
        log.warning("capture: its storer does nothing any more and is ended", extra={"pid": self._storer.pid})
        self._storer.kill()

    def _hand_over(self, sandbox: socket.socket) -> None:
        """A guest may not stand still: for that there is a deadline."""
        assert self._machine is not None  # noqa: S101 - for the type checker
        if not self._cancelled:
            self._stop_clock()
            self._deadline = asyncio.get_running_loop().call_later(STILL_SECONDS, self.happens, Event.LATE)
        with contextlib.suppress(OSError):  # it has ended: the storer notices
            wire.send(sandbox, ["capture"], (self._machine.fileno(),))
        self._drop()

    def _drop(self, _sandbox: socket.socket | None = None) -> None:
        if self._machine is not None:
            self._machine.close()
            self._machine = None

    def _tell_ready(self) -> None:
        self._note_news(None)
        self.ready.set()

    def _tell_matched(self) -> None:
        self.on_matched()

    def _note_still(self) -> None:
        self._note_news(SILENT_SECONDS)

    def _note_progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        self.changed.set()
        self._note_news(SILENT_SECONDS)

    def _note_news(self, seconds: float | None) -> None:
        """More has to come in so many seconds, None: whenever it does. Of one that was given up only its end counts."""
        if self._cancelled:
            return
        if seconds is None:
            self._stop_clock()
        else:
            self._await_news(seconds)

    def _miss(self, error: QuarkError) -> None:
        self.missed = error
        self._note_news(None)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _lose(self) -> None:
        self._decide(CaptureError(KILLED))
        self._leave()

    def _leave(self) -> None:
        assert self._storer is not None  # noqa: S101 - for the type checker
        asyncio.get_running_loop().remove_reader(self._storer.sock)
        self._stop_clock()
        self._storer.close()
        self._storer = None
        self._drop()
        self.gone.set()
        self.on_gone()

    # ---- what the storer says

    def _hear(self) -> None:
        assert self._storer is not None  # noqa: S101 - for the type checker
        data = wire.receive_now(self._storer.sock)
        if data is None:
            return
        if not data:
            self.happens(Event.GONE)
            return
        said = json.loads(data)
        event = Event[said["event"].upper()]
        if event is Event.PROGRESS:
            self.happens(event, said["done"], said["total"])
        elif event is Event.FAILED:
            if "traceback" in said:
                log.error("capture failed", extra={"traceback": said["traceback"]})
            error = named_error(said["kind"], said["message"])
            self.happens(Event.MISSED if said.get("missed") else event, error)
        else:
            self.happens(event)
