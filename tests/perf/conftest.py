"""Fixtures of the performance tests."""

import subprocess
import sys

import pytest

from quark.bench import figures
from quark.bench import measure as m


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory):
    """A state directory with the demo application's snapshot, its image in memory and its working set recorded."""
    root = tmp_path_factory.mktemp("regress") / "state"
    create = m.quark_command(root, "snapshot", "create", "demo", "--ready-file", "--", sys.executable, str(figures.APP))
    subprocess.run(create, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for _ in range(2):
        m.until_line(m.quark_command(root, "run", "--from-snapshot", "demo", "--", "5"), figures.ANSWER)
    yield root
    m.stop_pager(root)
