"""The service manager's side of the daemon: sockets that it opened, readiness and watchdog, and the units."""

import configparser
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import quark as sdk

REPOSITORY = Path(__file__).parents[2]
PYTHON = REPOSITORY / ".venv" / "bin" / "python"
UNITS = REPOSITORY / "snapshotd" / "systemd"
# sd_listen_fds(3): descriptors from 3 on, and the PID that they are meant for.
ACTIVATE = "import os, sys\nos.environ['LISTEN_PID'] = str(os.getpid())\nos.execv(sys.argv[1], sys.argv[1:])"


def listening(path, kind):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    sock.listen()
    return sock


@pytest.fixture
def activated(quark, tmp_path):
    """A daemon that was started as systemd does; its notification socket, and the paths of the two that it was given."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(20)
    paths = {socket.SOCK_SEQPACKET: tmp_path / "session.sock", socket.SOCK_STREAM: tmp_path / "given.sock"}
    given = [listening(path, kind) for kind, path in paths.items()]
    environment = {
        "PATH": os.environ["PATH"],
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "400000",
        "LISTEN_FDS": "2",
    }
    command = [PYTHON, "-c", ACTIVATE, PYTHON, "-P", "-m", "snapshotd.daemon", "--root", quark.root]

    def descriptors():
        """In the child: the sockets where they belong."""
        high = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(given)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)

    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=log,
            preexec_fn=descriptors,  # noqa: PLW1509 - the test has one thread here
            close_fds=False,
        )
    yield process, notify, paths[socket.SOCK_STREAM]
    if process.poll() is None:
        process.kill()
        process.wait()
    for sock in (notify, *given):
        sock.close()


def test_socket_activation_readiness_and_watchdog(quark, activated, tmp_path):
    process, notify, path = activated
    assert notify.recv(100) == b"READY=1", (tmp_path / "log").read_text()
    with sdk.connect(f"unix:{path}") as client:
        assert client.run(["/bin/echo", "hello"]).stdout == b"hello\n"
    assert not (quark.root / "run" / "snapshotd.sock").exists(), "it has the sockets that it was given"
    done = quark("--daemon", str(path), "run", "--", "/bin/sh", "-c", "exit 5")
    assert done.status == 5, done.err
    assert [notify.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    process.send_signal(signal.SIGTERM)
    while (message := notify.recv(100)) == b"WATCHDOG=1":
        pass
    assert message == b"STOPPING=1"
    assert process.wait(20) == 0
    assert path.exists(), "the sockets are the service manager's"


def test_a_daemon_that_hangs_says_nothing(activated):
    process, notify, _ = activated
    assert notify.recv(100) == b"READY=1"
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    notify.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while notify.recv(100):
            pass
    notify.settimeout(1)
    with pytest.raises(TimeoutError):
        notify.recv(100)
    process.send_signal(signal.SIGCONT)


def test_the_units(tmp_path):
    for name in ("snapshotd.service", "snapshotd.socket"):
        shutil.copy(UNITS / name, tmp_path)
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(tmp_path / "snapshotd.service")
    service = parser["Service"]
    assert service["Type"] == "notify"
    command, *options = service["ExecStart"].split()
    done = subprocess.run(
        [REPOSITORY / ".venv" / "bin" / Path(command).name, "--root", str(tmp_path / "root"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, options[0]) == (0, "--root"), done
    if (analyze := shutil.which("systemd-analyze")) is None:
        return
    text = (tmp_path / "snapshotd.service").read_text().replace(command, "/bin/true")
    (tmp_path / "snapshotd.service").write_text(text)
    verified = subprocess.run(
        [analyze, "verify", tmp_path / "snapshotd.service", tmp_path / "snapshotd.socket"],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in verified.stderr.splitlines() if "snapshotd" in line]
    assert not complaints
