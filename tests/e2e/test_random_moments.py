"""Snapshots at random moments of running programs: the original does not notice, and a clone goes on to the same end."""

import contextlib
import os
import select
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "guest"))

import random_moments
from guest_harness import building, running, scratch

from quark.cli.sandbox_options import PASSED_ON
from qvisor import process
from qvisor.machine import open_kvm
from qvisor.spec import SandboxSpec
from snapshotd.capture import Frozen
from snapshotd.frozen import FrozenMachine, NotFrozenError
from snapshotd.start import ready_cold
from snapshotd.store import Store

MOMENTS, NIGHTLY_MOMENTS = 55, 500
SEED, NIGHTLY_SEED = 20261124, 20261126


class Collected:
    """A pipe that a thread empties: what a sandbox wrote."""

    def __init__(self):
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read_fd, False)
        self.data = bytearray()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.collect, daemon=True)
        self.thread.start()

    def collect(self):
        while self.empty():
            select.select([self.read_fd], [], [])

    def empty(self):
        """Read what there is; False: that was all."""
        with self.lock, contextlib.suppress(BlockingIOError):
            while part := os.read(self.read_fd, 65536):
                self.data += part
            return False
        return True

    def settle(self):
        """Bytes that have been written by now, of a guest that may go on."""
        self.empty()
        return len(self.data)

    def close(self):
        os.close(self.write_fd)
        self.thread.join()
        os.close(self.read_fd)
        return bytes(self.data)


@pytest.fixture(scope="module")
def programs():
    """Each program's case, what Linux says, and how long a sandbox takes for it."""
    running.prepare()
    building.build_all(random_moments.PROGRAMS)
    return {}


def spec_of(case, place):
    env = {k: os.environ[k] for k in PASSED_ON if k in os.environ} | dict(running.ENVIRONMENT) | dict(case.env)
    return SandboxSpec(argv=running.command_of(case), env=env, cwd=str(place))


class Running:
    """A case in a QVisor of its own; a storer can read it while it goes on."""

    def __init__(self, case, place):
        self.spec = spec_of(case, place)
        self.out, self.err = Collected(), Collected()
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        null, kvm = os.open(os.devnull, os.O_RDONLY), open_kvm()
        with ready_cold(self.spec, "", stdio=(null, self.out.write_fd, self.err.write_fd)) as ready, theirs:
            process.machine(self.spec.memory, kvm, parent=os.getpid()).send(self.sock.fileno())
            self.pid = process.spawn(theirs.fileno())
            ready.start.send(self.sock.fileno())
        os.close(null)
        os.close(kvm)
        self.started = time.monotonic()
        self.storer = None
        assert self.sock.recv(4096).startswith(b"started")

    def machine(self):
        """The machine, and bytes that it had written by then, at least and at most, to each stream; None when it ended before."""
        self.storer, theirs = socket.socketpair()
        least = (len(self.out.data), len(self.err.data))
        with theirs, contextlib.suppress(OSError):
            socket.send_fds(self.sock, [b"capture"], [theirs.fileno()])
        try:
            machine = FrozenMachine(self.storer, self.spec)
        except NotFrozenError:
            return None
        return machine, least, (self.out.settle(), self.err.settle())

    def end(self):
        """(status, standard output, standard error) at its end, for which it waits for its storer's."""
        if self.storer is not None:
            self.storer.close()
        event = self.sock.recv(1 << 16).split(b"\0")
        assert event[0] == b"ended", event
        os.waitpid(self.pid, 0)
        self.sock.close()
        return int(event[1]), self.out.close(), self.err.close()


def whole_run(case, place):
    """Seconds of an undisturbed run in a sandbox."""
    program = Running(case, place)
    program.end()
    return time.monotonic() - program.started


def known(programs, case):
    if case not in programs:
        place = running.BUILD / "scratch" / f"moments-{case.name}"
        native = running.run_native(case, scratch.make(place, tree=case.tree))
        scratch.make(place, tree=case.tree)
        programs[case] = (native, place, whole_run(case, place))
    return programs[case]


def run_clone(quark, name):
    """Status and output of a clone, in a process of its own: its standard streams are the sandbox's."""
    command = quark.command("run", "--from-snapshot", name)
    return running.run(command, quark.root, dict(os.environ), None, 120)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(MOMENTS))
def test_moment(number, programs, quark):
    goes_on(list(random_moments.moments(SEED, MOMENTS))[number], programs, quark)


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(NIGHTLY_MOMENTS))
def test_many_moments(number, programs, quark):
    goes_on(list(random_moments.moments(NIGHTLY_SEED, NIGHTLY_MOMENTS))[number], programs, quark)


def goes_on(moment, programs, quark):
    native, place, seconds = known(programs, moment.case)
    quark.root.mkdir()
    program = Running(moment.case, place)
    time.sleep(moment.delay(seconds))
    found = program.machine()
    if found is not None:
        machine, least, most = found
        with Store.open(quark.root) as store:
            Frozen(machine, program.spec).store(store, "moment", trigger="after")
    status, out, err = program.end()
    original = running.Outcome(native.command, status, out, err)
    if found is None:
        assert not running.differences(moment.case, native, original)
        return
    clone = run_clone(quark, "moment")
    # It goes on while it is stored: what it had written when it stood still is what the clone does not write, and lies within bounds.
    before = tuple(whole[: len(whole) - len(rest)] for whole, rest in ((out, clone.stdout), (err, clone.stderr)))
    assert all(a <= len(b) <= z for a, b, z in zip(least, before, most, strict=True)), (least, before, most)
    random_moments.verify(moment.case, native, original, before, clone)
