"""A short soak; `make soak` is the long one."""

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "soak" / "soak.py"


@pytest.mark.timeout(300)
def test_nothing_grows(tmp_path):
    command = [sys.executable, SOAK, "--cycles", "200", "--clients", "3", "--root", tmp_path / "soak"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0].split()[-1] == "200", done.stdout
