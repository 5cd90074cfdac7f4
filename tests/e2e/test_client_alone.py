"""The client without the runtime: a wheel of pure Python, on a machine that has neither the C module nor the daemon's packages."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "mk" / "client"
# -S: nothing of this environment is on the path but what is put there.
HEAD = """
import sys
sys.path[:0] = sys.argv[1:3]
for name in ("qvisor", "snapshotd"):
    sys.modules[name] = None  # import fails, as where they are not installed
import quark
from quark import aio, store_errors
"""
CALLS = """
with quark.connect(sys.argv[3]) as client:
    try:
        client.run(["/bin/sleep", "60"], timeout=0.5)
    except quark.DeadlineError as e:
        print(type(e).__name__)
    try:
        client.delete_snapshot("nobody")
    except store_errors.SnapshotUnknownError as e:
        print(type(e).__name__, e.exit_code)
    print(client.run(["/bin/echo", "hello"]).stdout.decode(), end="")
"""


@pytest.fixture(scope="module")
def client_alone(tmp_path_factory):
    """A folder that has the client and nothing else."""
    place = tmp_path_factory.mktemp("client")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", place, CLIENT]
    subprocess.run(command, check=True, timeout=100, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (wheel,) = place.glob("quark_client-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "packages")
    return place / "packages"


def test_errors_have_their_names_without_the_runtime(client_alone, daemon):
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        HEAD + CALLS,
        client_alone,
        sysconfig.get_path("purelib"),
        f"unix:{daemon.socket}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["DeadlineError", "SnapshotUnknownError 40", "hello"], done.stderr
