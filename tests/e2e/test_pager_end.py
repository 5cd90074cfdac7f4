"""A pager that ends: what it said is there when somebody looks for it, but not without limit; who came just then gets another one."""

import os
import signal
import socket
import time
from pathlib import Path

from snapshotd.client import LOG_MAX

RECVMSG = "47"
SCRIPT = "echo ready >/dev/quark; echo on"


def run(quark):
    done = quark("run", "--from-snapshot", "s")
    assert (done.status, done.out) == (0, "on\n"), done.err


def kill_pager(quark):
    (pid,) = quark.pagers()
    os.kill(pid, signal.SIGKILL)
    while quark.pagers():
        pass


def test_the_log_of_a_pager_that_died(quark):
    done = quark("snapshot", "create", "s", "--ready-file", "--", "/bin/sh", "-c", SCRIPT)
    assert done.status == 0, done.err
    run(quark)
    place = quark.root / "run" / "default"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect(str(place / "pager.sock"))
        s.send(b"nonsense")
        assert s.recv(100) == b""  # it has been hung up on
    said = (place / "pager.log").read_text()
    assert "nonsense" in said
    kill_pager(quark)
    run(quark)
    assert (place / "pager.log").read_text().startswith(said)
    kill_pager(quark)
    (place / "pager.log").write_text("x" * (LOG_MAX + 1))
    run(quark)
    assert (place / "pager.log").stat().st_size < LOG_MAX


def test_a_pager_that_ends_just_when_a_clone_comes(quark):
    done = quark("snapshot", "create", "s", "--ready-file", "--", "/bin/sh", "-c", SCRIPT)
    assert done.status == 0, done.err
    run(quark)
    (pager,) = quark.pagers()
    os.kill(pager, signal.SIGSTOP)
    with quark.start("run", "--from-snapshot", "s") as clone:
        deadline = time.monotonic() + 20
        # It is connected, has asked, and waits for the answer.
        while Path(f"/proc/{clone.pid}/syscall").read_text().split()[0] != RECVMSG:
            assert time.monotonic() < deadline
            assert clone.poll() is None
            time.sleep(0.01)
        os.kill(pager, signal.SIGKILL)
        out, err = clone.communicate(timeout=20)
        assert (clone.returncode, out) == (0, b"on\n"), err
    assert pager not in quark.pagers()
