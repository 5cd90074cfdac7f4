"""Every state and every event of the life cycles, on sandboxes and captures whose processes are sockets."""

import asyncio
import contextlib
import re
import signal
import socket
from pathlib import Path

import pytest

from quark.errors import CaptureError, SandboxStateError, VmError
from snapshotd.daemon import capture as captures
from snapshotd.daemon import lifecycles as lc
from snapshotd.daemon import news
from snapshotd.daemon import sandbox as sandboxes
from snapshotd.daemon.lifecycles import CAPTURE, SANDBOX, TABLES, IllegalEventError

S, E = lc.Sandbox, lc.SandboxEvent
C, F = lc.Capture, lc.CaptureEvent
SECONDS = 30
OVER = {S.OVER, S.BREAKING, S.STUCK, S.GONE}
DECIDED = {C.DECIDED, C.DECIDED_EARLY, C.GONE}
SAID = {  # with an event
    E.BROKEN: (VmError("broken"),),
    E.STARTED: ("00" * 16, "0"),
    E.FAILED: ("VmError", "failed"),
    E.SIGNAL: (signal.SIGTERM,),
    **dict.fromkeys((E.ENDED, E.ENDED_BEFORE_STORER, E.ENDED_AFTER_STORER), ("3", "", "0", "1", "2", "confine", "7")),
    F.END: (None,),
    F.FAILED: (CaptureError("failed"),),
    F.MISSED: (CaptureError("missed"),),
    F.PROGRESS: (1, 2),
}


class Process:
    """As pool.Process, without one."""

    def __init__(self):
        self.sock, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.setblocking(False)
        self.pid = self.pidfd = -1
        self.signals = []
        self.closed = False

    def kill(self, number=signal.SIGKILL):
        self.signals.append(number)

    def close(self):
        self.closed = True
        self.sock.close()


class Shelf:
    def miss(self, domain, snapshot):
        pass


@contextlib.contextmanager
def sandbox(life=S.MAKING, *, trigger=False):
    worker = Process()
    job = {
        "spec": {"argv": ["x"]},
        "tty": False,
        "limits": "0 0 0",
        **({"trigger": ("file", ""), "name": "s"} if trigger else {}),
    }
    made = sandboxes.Sandbox("default", job, worker, None, None, None, Shelf(), None)
    made.life = life
    with worker.theirs, worker.sock:
        yield made


@contextlib.contextmanager
def capture(life=C.NEW):
    made, storer = captures.Capture(), Process()
    made.life = life
    if life not in {C.NEW, C.DECIDED_EARLY, C.GONE, C.GONE_UNDECIDED}:
        made._storer = storer
        made._machine, theirs = socket.socketpair()
        theirs.close()
    with storer.theirs, storer.sock:
        yield made, storer
        made._drop()
        made._stop_clock()


@pytest.fixture(autouse=True)
def loop():
    """Events and timers need one; none of them runs."""
    loop = asyncio.new_event_loop()
    asyncio._set_running_loop(loop)
    yield
    asyncio._set_running_loop(None)
    loop.close()


@pytest.mark.parametrize("life", S)
@pytest.mark.parametrize("event", E)
def test_every_event_of_a_sandbox(life, event):
    step = SANDBOX.rows[life].get(event)
    with sandbox(life, trigger=life in {S.STORING, S.STORING_ALONE} or event is E.ENDED_AFTER_STORER) as s:
        if life in OVER:
            s.finished.set()
        ends, goes = [], []
        s.on_end, s.on_gone = ends.append, lambda: goes.append(s)
        if step is None:
            with pytest.raises(IllegalEventError, match=f"{event.name} in the state {life.name}"):
                s.happens(event, *SAID.get(event, ()))
            assert (s.life, s.worker.signals, ends, goes) == (life, [], [], [])
            return
        s.happens(event, *SAID.get(event, ()))
        assert s.life is step.state
        assert s.finished.is_set() == (s.life in OVER)
        left = life not in {S.GONE, S.STUCK} and s.life in {S.GONE, S.STUCK}
        assert (ends == [s], s.ended.is_set()) == (left, left)
        assert (goes == [s], s.worker.closed) == ((s.life is S.GONE and life is not S.GONE),) * 2
        if s.life in OVER:
            assert s.state == (sandboxes.FAILED if s.error else sandboxes.EXITED)
        if s.life is S.BREAKING and life is not S.BREAKING:
            assert signal.SIGKILL in s.worker.signals


@pytest.mark.parametrize("life", C)
@pytest.mark.parametrize("event", F)
def test_every_event_of_a_capture(life, event):
    step = CAPTURE.rows[life].get(event)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    said = (ours,) if event is F.HAND_OVER else SAID.get(event, ())
    with ours, theirs, capture(life) as (c, storer):
        if life is C.DECIDED_EARLY and event is F.BEGIN:
            c._storer = storer
        if step is None:
            with pytest.raises(IllegalEventError, match=f"{event.name} in the state {life.name}"):
                c.happens(event, *said)
            assert c.life is life
            return
        c.happens(event, *said)
        assert c.life is step.state
        assert c.finished == (c.life in DECIDED)
        if c.life in DECIDED and life not in DECIDED:
            assert c.ended.is_set()
            failed = event not in {F.END, F.CAPTURED}
            assert (c.error is not None) == failed
        gone = {C.GONE, C.GONE_UNDECIDED}
        assert c.gone.is_set() == (c.life in gone and life not in gone)


def test_a_machine_that_comes_when_its_capture_was_given_up_has_no_deadline():
    """It would be late when all is decided."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, capture(C.READY) as (c, _):
        c.cancel()
        given_up = c._deadline
        c.hand_over(ours)
        assert c._deadline is given_up
        c.happens(F.FAILED, CaptureError("given up"))
        assert not given_up.cancelled()
        c.happens(F.GONE)
        assert given_up.cancelled()


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.what)
def test_every_state_has_a_way_from_the_first_and_to_the_last(table):
    states = list(table.rows)
    first, last = states[0], states[-1]
    assert set(states) == set(type(first))

    def reach(start):
        found = [start]
        for state in found:  # grows
            found += [s for s, _ in table.rows[state].values() if s not in found]
        return set(found)

    assert reach(first) == set(states)
    for state in states:
        # A capture that ends before it has a storer may never have one.
        assert last in reach(state), state


@pytest.mark.parametrize(("table", "cls"), [(SANDBOX, sandboxes.Sandbox), (CAPTURE, captures.Capture)])
def test_every_action_is_there(table, cls):
    actions = {step.action for row in table.rows.values() for step in row.values() if step.action}
    assert [a for a in actions if not callable(getattr(cls, a, None))] == []


def test_what_must_never_be_an_error():
    """Whoever kills, breaks or lets go does not know what has just happened."""
    for row in SANDBOX.rows.values():
        assert {E.KILL, E.BROKEN, E.NOT_GONE, E.STORED} <= set(row)
    for row in CAPTURE.rows.values():
        assert {F.DROP, F.END, F.CANCEL} <= set(row)
    with pytest.raises(IllegalEventError):
        SANDBOX.next(S.GONE, E.STARTED)


@pytest.mark.parametrize(
    "said",
    [
        b"paused",
        b"resumed",
        b"parked",
        b"ended\0x",
        b"ended",
        b"started",
        b"started\0a\0b",
        b"started\x001\x001\x001",
        b"",
        b"\0",
        b"\xff",
    ],
)
def test_a_qvisor_that_says_what_it_cannot_say(said):
    with sandbox(S.BEGINNING) as s:
        s.worker.theirs.send(said or b"no such")
        s._hear()
        assert (s.life, s.state, s.worker.signals) == (S.BREAKING, "failed", [signal.SIGKILL])
        assert isinstance(s.error, VmError)
        s.worker.theirs.send(b"started\0" + 16 * b"00" + b"\x000")
        s._hear()
        s.worker.theirs.close()
        s._hear()
        assert (s.life, s.ended.is_set()) == (S.GONE, True)


def ended(*fields):
    return "\0".join(("ended", *fields)).encode()


@pytest.mark.parametrize(
    "said",
    [
        ended("0"),
        ended("256", "", "0", "0", "0"),
        ended("-1", "", "0", "0", "0"),
        ended("0", "", "0", "-1", "0"),
        ended("0", "", str(1 << 64), "0", "0"),
        ended("0", "", "0", "0", "0", "confine", str(1 << 62)),
        ended("0", "", "0", "0", "0", "a label", "1"),
        ended("0", "", "0", "0", "0", *(25 * ("confine", "1"))),
        ended("0", "", "0", "0", "0", "confine"),
        b"failed\0FieldError\0x",
        b"failed\0SnapshotFilesError\0x",
    ],
    ids=ascii,
)
def test_lies_about_an_end(said):
    """What it says reaches messages of the API, whose numbers have sizes, and labels of metrics, which stay."""
    with sandbox(S.RUNNING) as s:
        s.worker.theirs.send(said)
        s._hear()
        assert (s.life, s.state, s.worker.signals) == (S.BREAKING, "failed", [signal.SIGKILL])
        assert isinstance(s.error, VmError)
        assert (s.timeline, s.faults, s.exit_status) == ([], 0, 0)


def test_what_it_says_is_for_terminals():
    with sandbox(S.RUNNING) as s:
        s.worker.theirs.send(ended("137", "out\x1b[2J\x9b2J of\n memory", "0", "1", "2"))
        s._hear()
        assert (s.life, s.exit_status, s.faults) == (S.OVER, 137, 1)
        assert s.end_reason == "out?[2J?2J of\n memory"
    with sandbox(S.RUNNING) as s:
        s.worker.theirs.send(b"failed\0GuestPanicError\0" + b"\x1b" * 20000)
        s._hear()
        assert str(s.error) == "?" * news.TEXT_MAX


def test_one_that_says_its_end_and_goes_on(monkeypatch):
    monkeypatch.setattr(sandboxes, "LEAVE_SECONDS", 0.0)
    asyncio._set_running_loop(None)

    async def hear():
        killed = asyncio.Event()
        with sandbox(S.RUNNING) as s:
            s.worker.kill = killed.set
            s.worker.theirs.send(ended("0", "", "0", "0", "0"))
            s._hear()
            assert (s.state, killed.is_set()) == ("exited", False)
            await asyncio.wait_for(killed.wait(), SECONDS)

    asyncio.run(hear())


def test_what_it_may_say_is_what_it_says():
    quark = Path(__file__).parents[2]
    told = "".join(p.read_text() for p in (quark / "qvisor" / "program").glob("*.c"))
    told += (quark / "snapshotd" / "start.py").read_text()
    assert set(re.findall(r'(?:timeline_|\.)(?:mark|add)\("(.+?)"', told)) == news.STEPS
    assert set(re.findall(r'\{"(\w+)", \d+\}', told)) == news.FAILURES
    assert f"STEPS_MAX {news.STEPS_MAX}\n" in told
    assert f"TEXT_MAX {news.TEXT_MAX} " in told


@pytest.mark.parametrize(("life", "state"), [(S.MAKING, "starting"), (S.OVER, "exited"), (S.GONE, "exited")])
def test_wishes_that_come_too_early_or_too_late(life, state):
    with sandbox(life) as s:
        with pytest.raises(SandboxStateError, match=f"is {state}; only a running one gets signals"):
            s.signal(signal.SIGTERM)
        with pytest.raises(SandboxStateError, match=f"is {state}; only a running one can be captured"):
            s.begin_capture("x", flat=False, self_contained=False)
