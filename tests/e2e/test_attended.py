"""`quark snapshot create` without a daemon: the guest is QVisor's, a child that is part of the command's job, and leaves with it."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3.11"
LOOP = ("/bin/sh", "-c", "trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done")
SECONDS = 30


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def stored(root):
    """Bytes of its files, while some come and go."""
    total = 0
    for file in root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


@pytest.fixture
def attended(quark):
    """A command that waits for a capture point that does not come, and its QVisor."""
    command = quark.command("snapshot", "create", "s", "--ready-file", "--", *LOOP)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, process_group=0) as p:
        try:
            assert p.stdout.readline() == b"up\n"
            (qvisor,) = children(p.pid)
            yield p, qvisor
        finally:
            p.kill()


def test_no_python_process_runs_a_guest(attended):
    command, qvisor = attended
    assert Path(f"/proc/{qvisor}/comm").read_text() == "qvisor\n"
    links = {os.readlink(fd) for fd in Path(f"/proc/{command.pid}/fd").iterdir()}
    assert not {link for link in links if "kvm" in link}
    assert "kvm" not in Path(f"/proc/{command.pid}/maps").read_text()


def test_it_ends_with_the_command(attended):
    command, qvisor = attended
    command.kill()
    command.wait(SECONDS)
    until(lambda: not Path(f"/proc/{qvisor}").exists() or state(qvisor) == "Z")


def test_a_killed_qvisor_is_an_error(attended, quark):
    command, qvisor = attended
    os.kill(qvisor, signal.SIGKILL)
    assert command.wait(SECONDS) == 66
    assert quark("snapshot", "list").out == ""


def test_signals_are_passed_on(attended):
    command, _ = attended
    command.send_signal(signal.SIGUSR1)
    assert command.stdout.readline() == b"usr1\n"
    command.send_signal(signal.SIGTERM)
    assert command.wait(SECONDS) == 71


def test_it_stops_and_goes_on_with_the_program(attended):
    command, _ = attended
    for _ in range(2):
        command.send_signal(signal.SIGTSTP)
        until(lambda: state(command.pid) == "T")
        command.send_signal(signal.SIGCONT)
        command.send_signal(signal.SIGUSR1)
        assert command.stdout.readline() == b"usr1\n"


def test_a_capture_can_be_given_up(quark):
    code = "import os; x = os.urandom(400 << 20); open('/dev/quark', 'r+b', 0).write(b'ready\\n')"
    with quark.start("snapshot", "create", "s", "--memory", "1G", "--ready-file", "--", PYTHON, "-c", code) as p:
        until(lambda: stored(quark.root) > 20 << 20)
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=SECONDS)
    assert (p.returncode, err.count(b"\n")) == (71, 1), err
    assert b"given up" in err
    assert quark("snapshot", "list").out == ""


def test_the_log_of_the_guest_kernel_is_not_the_programs_output(quark):
    """Its lines are not looked at for the capture point."""
    done = quark(
        "snapshot", "create", "s", "--debug", "--ready-log", "^.*wait4", "--", "/bin/sh", "-c", "sleep 0; echo on"
    )
    assert (done.status, done.out) == (71, "on\n")
    assert "wait4" in done.err
