"""Snapshots at random moments of running programs: the original does not notice, and a clone goes on to the same end."""

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "guest"))

import random_moments
from guest_harness import building, running, scratch

from quark.cli.sandbox_options import PASSED_ON
from qvisor.spec import SandboxSpec
from snapshotd.capture import Frozen
from snapshotd.store import Store
from tests.e2e.capturing import Running

MOMENTS, NIGHTLY_MOMENTS = 55, 500
SEED, NIGHTLY_SEED = 20261124, 20261126


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
    program = Running(spec_of(case, place))
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
    program = Running(spec_of(moment.case, place))
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
