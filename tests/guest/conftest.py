"""Options and fixtures of the guest tests.

pytest tests/guest                   every program natively and in the sandbox; status, stdout and stderr must be the same
pytest tests/guest --native-only     on this host's Linux alone: checks the tests themselves; needs no KVM
pytest tests/guest --long            the longer programs of long/ too
pytest tests/guest --later           tests of process life (fork, execve, shells), which the guest kernel does not have yet
pytest tests/guest -k sig_           by name
pytest tests/guest --quark-command '.venv/bin/quark run --ring ring3'

A case is a line in guest_harness/cases.py or later.py, its program a file in c/, python/, long/ or later/.
"""

import os
import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from guest_harness import building, cases, running

REPOSITORY = Path(__file__).parents[2]


def pytest_addoption(parser):
    group = parser.getgroup("guest", "guest tests")
    group.addoption("--native-only", action="store_true", help="run the guest tests on this host's Linux alone")
    group.addoption("--long", action="store_true", help="run the longer guest programs too")
    group.addoption("--later", action="store_true", help="run the guest tests of features that are not there yet")
    group.addoption(
        "--quark-command", metavar="COMMAND", help="how to run a program in a sandbox (default: .venv/bin/quark run)"
    )
    group.addoption(
        "--time-scale", type=float, default=1, metavar="X", help="multiply the guest tests' time limits by X"
    )


@pytest.fixture(scope="session")
def quark_run(pytestconfig):
    """The command that runs a program in a sandbox, as a list to which options, `--` and the program are added."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        reason = "/dev/kvm is missing or may not be opened"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and CI has to have it", pytrace=False)
        pytest.skip(reason)
    if command := pytestconfig.getoption("quark_command", default=None):
        return shlex.split(command)
    quark = REPOSITORY / ".venv" / "bin" / "quark"
    if not quark.exists():
        pytest.fail(f"{quark} is missing: run make", pytrace=False)
    return [str(quark), "run"]


@pytest.fixture(scope="session")
def guest_programs(request):
    """Builds the programs of all chosen cases, once."""
    chosen = [item.callspec.params.get("case") for item in request.session.items if hasattr(item, "callspec")]
    running.prepare()
    building.build_all(case for case in chosen if isinstance(case, cases.Case))
