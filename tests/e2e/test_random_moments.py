"""Snapshots at random moments of running programs: the original does not notice, and a clone goes on to the same end."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "guest"))

import random_moments
from guest_harness import building, running, scratch

from quark.cli.sandbox_options import PASSED_ON
from qvisor._native import lib
from qvisor.cold import boot
from qvisor.spec import SandboxSpec
from snapshotd.capture import capture
from snapshotd.store import Store

MOMENTS, NIGHTLY_MOMENTS = 55, 500
SEED, NIGHTLY_SEED = 20261124, 20261126


class Collected:
    """A pipe that a thread empties: what a sandbox wrote."""

    def __init__(self):
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        self.data = bytearray()
        self.thread = threading.Thread(target=self.collect, daemon=True)
        self.thread.start()

    def collect(self):
        while part := os.read(self.read_fd, 65536):
            self.data += part

    def settle(self):
        """What has been written up to now, by a guest that stands still."""
        size = -1
        while size != len(self.data):
            size = len(self.data)
            time.sleep(0.005)
        return bytes(self.data)

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


def whole_run(case, place):
    """Seconds of an undisturbed run in a sandbox."""
    out, err = Collected(), Collected()
    null = os.open(os.devnull, os.O_RDONLY)
    started = time.monotonic()
    with boot(spec_of(case, place), stdio=(null, out.write_fd, err.write_fd)) as box:
        assert box.run().reason == "exited"
    seconds = time.monotonic() - started
    out.close()
    err.close()
    os.close(null)
    return seconds


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


def captured(box, root, name, trigger_after):
    """Run on to the moment and take the snapshot; False when the program ended before."""
    timer = threading.Timer(trigger_after, lib.qv_post, (box.vm, lib.QK_EV_CAPTURE, 0))
    timer.start()
    stop = box.run()
    timer.cancel()
    timer.join()
    if stop.reason != "parked":
        return stop
    with Store.open(root) as store:
        capture(box, store, name, trigger="after")
    return None


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
    null = os.open(os.devnull, os.O_RDONLY)
    out, err = Collected(), Collected()
    with boot(spec_of(moment.case, place), stdio=(null, out.write_fd, err.write_fd)) as box:
        stop = captured(box, quark.root, "moment", moment.delay(seconds))
        before = (out.settle(), err.settle())
        early = stop is not None
        while stop is None or stop.reason == "parked":
            stop = box.run()
    original = running.Outcome(native.command, stop.status, out.close(), err.close())
    os.close(null)
    if early:
        assert not running.differences(moment.case, native, original)
        return
    random_moments.verify(moment.case, native, original, before, run_clone(quark, "moment"))
