"""What a pager said is there when somebody looks for it, even if another one runs since; but not without limit."""

import os
import signal
import socket

from snapshotd.client import LOG_MAX

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
