"""A short soak; `make soak` is the long one. And that it would notice."""

import contextlib
import importlib.util
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "soak" / "soak.py"


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", SOAK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(300)
def test_nothing_grows(tmp_path):
    command = [sys.executable, SOAK, "--cycles", "450", "--clients", "3", "--root", tmp_path / "soak"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0].split()[-1] == "450", done.stdout


def test_what_goes_wrong_is_seen(soak, tmp_path):
    """A file, a row, connections that nobody closes, of the daemon and of the pager; and a call that fails."""
    watched = soak.Soak(tmp_path / "state")
    try:
        watched.run(2, 1, [])
        first = watched.quiet()
        assert soak.leaks(first, watched.quiet()) == []
        (tmp_path / "state" / "domains" / "default" / "packs" / "forgotten").write_bytes(b"x" * 5000)
        with contextlib.closing(sqlite3.connect(watched.catalogue)) as db:
            db.execute("INSERT INTO blob VALUES (1, 'forgotten', x'', x'')")
            db.commit()
        with socket.socket(socket.AF_UNIX) as a, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as b:
            a.connect(str(tmp_path / "state" / "run" / "snapshotd.sock"))
            b.connect(str(tmp_path / "state" / "run" / "default" / "pager.sock"))
            deadline = time.monotonic() + 20
            expected = {"daemon fds", "pager fds", "files", "packs and maps bytes", "rows of blob"}
            while {leak.partition(":")[0] for leak in soak.leaks(first, watched.sample())} != expected:
                assert time.monotonic() < deadline, soak.leaks(first, watched.sample())
                time.sleep(0.05)
        Path(watched.program).write_text("#!/bin/sh\nexit 3\n")
        with pytest.raises(soak.CallError, match="after 2 cycles"):
            watched.run(2, 2, [])
    finally:
        watched.close()
