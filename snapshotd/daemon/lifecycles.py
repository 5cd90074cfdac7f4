"""Life cycles as tables: for each state, the events that may come in it, with the state after each and the name of what is done about it.

There is no I/O here, and no time: sandbox.py and capture.py have the actions, and ask a table what is next. What a table has not got is an error with a
name, never a guess. docs/architecture.md shows them (`make docs`).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

S = TypeVar("S", bound=enum.Enum)
E = TypeVar("E", bound=enum.Enum)


class IllegalEventError(Exception):
    """An event that cannot come in the state in which it came."""


class Step(NamedTuple, Generic[S]):
    """What follows an event: the next state, and an action (the name of a method), or nothing to be done."""

    state: S
    action: str = ""


class Table(Generic[S, E]):
    """The life cycle of a `what`."""

    def __init__(self, what: str, rows: Mapping[S, Mapping[E, Step[S]]]) -> None:
        self.what = what
        self.rows = rows

    def next(self, state: S, event: E) -> Step[S]:
        """What follows.

        Raises:
            IllegalEventError: the event cannot come.
        """
        step = self.rows[state].get(event)
        if step is None:
            raise IllegalEventError(f"{self.what}: {event.name} in the state {state.name}")
        return step


class Sandbox(enum.Enum):
    """States of a sandbox. What the API calls them is in sandbox.py."""

    MAKING = enum.auto()  # it is made ready; its QVisor waits
    BEGINNING = enum.auto()  # QVisor has the request
    RUNNING = enum.auto()
    PAUSED = enum.auto()
    STORING = enum.auto()  # its program was run up to a capture point, and has ended; the storer has not
    STORING_ALONE = enum.auto()  # and QVisor is gone
    OVER = enum.auto()  # QVisor has said how it ended, and goes
    BREAKING = enum.auto()  # the daemon has given it up: QVisor is killed, and what it still says does not count
    STUCK = enum.auto()  # killed long ago, but its process waits in the host's kernel; nobody waits for it
    GONE = enum.auto()


class SandboxEvent(enum.Enum):
    """What happens to a sandbox."""

    # Of the daemon
    SENT = enum.auto()  # the request went to QVisor
    BROKEN = enum.auto()  # it cannot be started, or be stored, or QVisor said what it cannot say
    # Of QVisor
    STARTED = enum.auto()
    PAUSED = enum.auto()
    RESUMED = enum.auto()
    STOPPED = enum.auto()  # the first program stopped itself
    PARKED = enum.auto()  # it waits at its capture point
    ENDED = enum.auto()
    ENDED_BEFORE_STORER = enum.auto()  # of a program that is run up to its capture point
    ENDED_AFTER_STORER = enum.auto()
    FAILED = enum.auto()
    GONE = enum.auto()  # the process has ended
    # Of the storer of a program that is run up to its capture point
    STORED = enum.auto()  # it has ended
    # Of callers
    SIGNAL = enum.auto()
    PAUSE = enum.auto()
    CAPTURE = enum.auto()
    KILL = enum.auto()
    NOT_GONE = enum.auto()  # some time after it was killed


def _sandbox() -> dict[Sandbox, dict[SandboxEvent, Step[Sandbox]]]:
    s, e = Sandbox, SandboxEvent

    def common(state: Sandbox, lose: str) -> dict[SandboxEvent, Step[Sandbox]]:
        """As long as it is not known how it ended."""
        return {
            e.FAILED: Step(s.OVER, "_note_failure"),
            e.BROKEN: Step(s.BREAKING, "_break"),
            e.GONE: Step(s.GONE, lose),
            e.STORED: Step(state),
            e.KILL: Step(state, "_kill"),
            e.NOT_GONE: Step(s.STUCK, lose),
        }

    return {
        s.MAKING: {e.SENT: Step(s.BEGINNING), **common(s.MAKING, "_lose_early")},
        s.BEGINNING: {e.STARTED: Step(s.RUNNING, "_note_start"), **common(s.BEGINNING, "_lose_early")},
        s.RUNNING: {
            e.PAUSED: Step(s.PAUSED),
            e.STOPPED: Step(s.RUNNING, "_tell_stopped"),
            e.PARKED: Step(s.RUNNING, "_fire"),
            e.ENDED: Step(s.OVER, "_note_end"),
            e.ENDED_BEFORE_STORER: Step(s.STORING, "_note_end"),
            e.ENDED_AFTER_STORER: Step(s.OVER, "_note_end_and_conclude"),
            e.SIGNAL: Step(s.RUNNING, "_signal"),
            e.PAUSE: Step(s.RUNNING),
            e.CAPTURE: Step(s.RUNNING),
            **common(s.RUNNING, "_lose"),
        },
        s.PAUSED: {
            e.RESUMED: Step(s.RUNNING),
            e.STOPPED: Step(s.PAUSED, "_tell_stopped"),
            e.SIGNAL: Step(s.PAUSED, "_signal"),
            e.PAUSE: Step(s.PAUSED),
            **common(s.PAUSED, "_lose"),
        },
        s.STORING: {
            e.STORED: Step(s.OVER, "_conclude"),
            e.GONE: Step(s.STORING_ALONE),
            e.BROKEN: Step(s.BREAKING, "_break"),
            e.SIGNAL: Step(s.STORING, "_signal"),
            e.PAUSE: Step(s.STORING),
            e.CAPTURE: Step(s.STORING),
            e.KILL: Step(s.STORING, "_kill"),
            e.NOT_GONE: Step(s.STUCK, "_lose"),
        },
        s.STORING_ALONE: {
            e.STORED: Step(s.GONE, "_conclude_and_leave"),
            e.BROKEN: Step(s.STORING_ALONE),
            e.SIGNAL: Step(s.STORING_ALONE, "_signal"),
            e.PAUSE: Step(s.STORING_ALONE),
            e.CAPTURE: Step(s.STORING_ALONE),
            e.KILL: Step(s.STORING_ALONE),
            e.NOT_GONE: Step(s.STORING_ALONE),
        },
        s.OVER: {
            e.GONE: Step(s.GONE, "_leave"),
            e.BROKEN: Step(s.BREAKING, "_end_process"),
            e.STORED: Step(s.OVER),
            e.KILL: Step(s.OVER, "_kill"),
            e.NOT_GONE: Step(s.STUCK, "_leave"),
        },
        s.BREAKING: {
            e.GONE: Step(s.GONE, "_leave"),
            **dict.fromkeys(
                (
                    e.BROKEN,
                    e.STARTED,
                    e.PAUSED,
                    e.RESUMED,
                    e.STOPPED,
                    e.PARKED,
                    e.ENDED,
                    e.ENDED_BEFORE_STORER,
                    e.ENDED_AFTER_STORER,
                    e.FAILED,
                    e.STORED,
                ),
                Step(s.BREAKING),
            ),
            e.KILL: Step(s.BREAKING, "_kill"),
            e.NOT_GONE: Step(s.STUCK, "_leave"),
        },
        s.STUCK: {
            e.GONE: Step(s.GONE, "_let_go"),
            **dict.fromkeys((e.BROKEN, e.STORED, e.KILL, e.NOT_GONE), Step(s.STUCK)),
        },
        s.GONE: dict.fromkeys((e.BROKEN, e.STORED, e.KILL, e.NOT_GONE), Step(s.GONE)),
    }


class Capture(enum.Enum):
    """States of a capture."""

    NEW = enum.auto()  # there is no storer yet
    ASKED = enum.auto()  # the storer has the job
    READY = enum.auto()  # the store takes such a snapshot; the storer waits for the machine
    STOPPING = enum.auto()  # the machine was told to stand still for it
    STORING = enum.auto()
    MISSED = enum.auto()  # the machine ended before it stood still; who knows how says more than the storer
    DECIDED = enum.auto()  # how it ended is known; the storer goes
    DECIDED_EARLY = enum.auto()  # the same, before there was a storer
    GONE_UNDECIDED = enum.auto()
    GONE = enum.auto()


class CaptureEvent(enum.Enum):
    """What happens to a capture."""

    # Of the daemon
    BEGIN = enum.auto()  # a storer was given the job
    HAND_OVER = enum.auto()  # the machine may stand still for it now
    DROP = enum.auto()  # there is no machine (any more)
    END = enum.auto()  # whoever knows more says how it ended
    CANCEL = enum.auto()  # nobody wants it any more
    LATE = enum.auto()  # the machine did not stand still in time
    # Of the storer
    READY = enum.auto()
    MATCHED = enum.auto()  # the program wrote the line that it is captured at
    STILL = enum.auto()
    PROGRESS = enum.auto()
    CAPTURED = enum.auto()
    FAILED = enum.auto()
    MISSED = enum.auto()
    GONE = enum.auto()  # its process has ended


def _capture() -> dict[Capture, dict[CaptureEvent, Step[Capture]]]:
    s, e = Capture, CaptureEvent

    def common(state: Capture) -> dict[CaptureEvent, Step[Capture]]:
        """While there is a storer, and nothing is decided."""
        return {
            e.DROP: Step(state, "_drop"),
            e.END: Step(s.DECIDED, "_decide"),
            e.CANCEL: Step(state, "_cancel"),
            e.FAILED: Step(s.DECIDED, "_decide"),
            e.MISSED: Step(s.MISSED, "_miss"),
            e.GONE: Step(s.GONE, "_lose"),
        }

    return {
        s.NEW: {
            e.BEGIN: Step(s.ASKED),
            e.HAND_OVER: Step(s.NEW),
            e.DROP: Step(s.NEW),
            e.END: Step(s.DECIDED_EARLY, "_decide"),
            e.CANCEL: Step(s.DECIDED_EARLY, "_give_up"),
        },
        s.ASKED: {e.READY: Step(s.READY, "_tell_ready"), **common(s.ASKED)},
        s.READY: {
            e.HAND_OVER: Step(s.STOPPING, "_hand_over"),
            e.MATCHED: Step(s.READY, "_tell_matched"),
            **common(s.READY),
        },
        s.STOPPING: {
            e.STILL: Step(s.STORING, "_note_still"),
            e.LATE: Step(s.DECIDED, "_decide_late"),
            e.HAND_OVER: Step(s.STOPPING),
            e.MATCHED: Step(s.STOPPING),
            **common(s.STOPPING),
        },
        s.STORING: {
            e.PROGRESS: Step(s.STORING, "_note_progress"),
            e.CAPTURED: Step(s.DECIDED, "_decide"),
            e.HAND_OVER: Step(s.STORING),
            e.MATCHED: Step(s.STORING),
            **common(s.STORING),
        },
        s.MISSED: {
            e.END: Step(s.DECIDED, "_decide"),
            e.CANCEL: Step(s.MISSED, "_cancel"),
            e.GONE: Step(s.GONE_UNDECIDED, "_leave"),
            **dict.fromkeys((e.HAND_OVER, e.DROP, e.MATCHED), Step(s.MISSED)),
        },
        s.DECIDED: {
            e.HAND_OVER: Step(s.DECIDED, "_drop"),
            e.DROP: Step(s.DECIDED, "_drop"),
            e.GONE: Step(s.GONE, "_leave"),
            e.CANCEL: Step(s.DECIDED, "_cancel"),
            **dict.fromkeys(
                (e.END, e.READY, e.MATCHED, e.STILL, e.PROGRESS, e.CAPTURED, e.FAILED, e.MISSED), Step(s.DECIDED)
            ),
        },
        s.DECIDED_EARLY: {
            e.BEGIN: Step(s.DECIDED, "_cancel"),
            **dict.fromkeys((e.HAND_OVER, e.DROP, e.END, e.CANCEL), Step(s.DECIDED_EARLY)),
        },
        s.GONE_UNDECIDED: {
            e.END: Step(s.GONE, "_decide"),
            **dict.fromkeys((e.HAND_OVER, e.DROP, e.CANCEL), Step(s.GONE_UNDECIDED)),
        },
        s.GONE: dict.fromkeys((e.HAND_OVER, e.DROP, e.END, e.CANCEL), Step(s.GONE)),
    }


SANDBOX = Table("a sandbox", _sandbox())
CAPTURE = Table("a capture", _capture())
TABLES: tuple[Table[Any, Any], ...] = (SANDBOX, CAPTURE)


class Lived(Generic[S, E]):
    """Something that lives by a table: its class has the actions."""

    def __init__(self, table: Table[S, E], first: S) -> None:
        self._table = table
        self.life = first

    def happens(self, event: E, *what: Any) -> None:
        """Go on, and do what is to be done; the action gets what is said of the event, and finds the new state.

        Raises:
            IllegalEventError: the event cannot come now; nothing has changed.
        """
        self.life, action = self._table.next(self.life, event)
        if action:
            getattr(self, action)(*what)
