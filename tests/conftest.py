"""Fixtures of all tests."""

import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
QUARK = REPOSITORY / ".venv" / "bin" / "quark"
PYTHON = REPOSITORY / ".venv" / "bin" / "python"


@dataclass(frozen=True)
class Done:
    """How a command ended. status: negative for a signal."""

    status: int
    out: str
    err: str


class Daemon:
    """A real snapshotd on a state directory, with the options `config` (TOML) if there are any."""

    def __init__(self, root: Path, config: str = "", descriptors: int = 0) -> None:
        self.root = root
        self.limit = ["prlimit", f"--nofile={descriptors}:{descriptors}"] if descriptors else []
        self.socket = Path(tomllib.loads(config).get("socket", root / "run" / "snapshotd.sock"))
        self.log = root.with_name(root.name + "-daemon.log")
        self.config = root.with_name(root.name + "-daemon.toml")
        # Prepared machines go soon when they are not wanted, for tests that look at what is left.
        self.config.write_text(config if "prepared" in config else f"prepared_seconds = 0.5\n{config}")
        self.start()

    def start(self) -> None:
        command = [*self.limit, PYTHON, "-P", "-m", "snapshotd.daemon", "--config", self.config, "--root", self.root]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not self.answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"no daemon within 30 s: {self.log.read_text()}"
            time.sleep(0.02)

    def answers(self) -> bool:
        # The session socket comes last.
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
                s.connect(str(self.socket.with_name("session.sock")))
        except OSError:
            return False
        return True

    def family(self) -> list[int]:
        """The zygote and its workers: processes that must not outlive the daemon."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
        found = [self.process.pid]
        for pid in found:  # grows
            found += [child for child, parent in parents.items() if parent == pid]
        # A pager is a child of the process that needed it first, and a process of its own.
        return [p for p in found[1:] if alive(p) and b"snapshotd.pager" not in command_line(p)]

    def kill(self) -> None:
        """As a crash."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it as its service manager does; nothing of it may be left."""
        family = self.family()
        self.process.terminate()
        try:
            status = self.process.wait(30)
        finally:
            self.process.kill()  # one that does not end disturbs no other test
        deadline = time.monotonic() + 5
        while (left := [p for p in family if alive(p)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, "processes of the daemon were left over"
        assert status in {0, -signal.SIGKILL}, self.log.read_text()
        assert "Traceback" not in self.log.read_text(), self.log.read_text()


def command_line(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Terminal:
    """A command on a pseudo-terminal of its own, in a session of its own."""

    def __init__(self, command: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # Python's view of the environment: readline has put LINES and COLUMNS into the C library's.
            os.execve(command[0], command, {**os.environ, "TERM": "xterm"})
            os._exit(99)
        self.text = b""
        self.status: int | None = None

    def read(self) -> bytes:
        try:
            return os.read(self.fd, 65536)
        except OSError:
            return b""  # EIO: nobody has it open any more

    def until(self, what: bytes, seconds: float = 20) -> None:
        """Read on until `what` has come; what follows it stays."""
        deadline = time.monotonic() + seconds
        while what not in self.text:
            left = deadline - time.monotonic()
            assert left > 0, (what, self.text)
            if select.select([self.fd], [], [], left)[0]:
                data = self.read()
                assert data, (what, self.text)
                self.text += data
        self.text = self.text.partition(what)[2]

    def within(self, seconds: float) -> bytes:
        """What comes within that time."""
        deadline, text = time.monotonic() + seconds, b""
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.fd], [], [], left)[0]:
                text += self.read()
        return text

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    def mode(self) -> list:
        return termios.tcgetattr(self.fd)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self, seconds: float = 20) -> tuple[int, bytes]:
        """Exit status and the rest of the output."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.fd], [], [], left)[0]:
                data = self.read()
                if not data:
                    break
                self.text += data
        assert left > 0, self.text
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status, self.text

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


class Quark:
    """The command, with a state directory of its own, and, if there is one, a daemon that serves it."""

    daemon: Daemon | None = None

    def __init__(self, root: Path) -> None:
        self.root = root

    def command(self, *args: str) -> list[str]:
        return [str(QUARK), "--root", str(self.root), *map(str, args)]

    def __call__(self, *args: str, stdin: bytes = b"", timeout: float = 60, **options) -> Done:
        done = subprocess.run(
            self.command(*args), input=stdin, capture_output=True, timeout=timeout, check=False, **options
        )
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def start(self, *args: str, **options) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(*args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )

    def processes(self) -> list[int]:
        """Live processes that name the state directory, the daemon excepted: sandboxes and the pager."""
        others = {os.getpid(), self.daemon.process.pid if self.daemon else -1}
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        return [p for p in pids if p not in others and os.fsencode(self.root) in command_line(p) and alive(p)]

    def pagers(self) -> list[int]:
        return [p for p in self.processes() if b"snapshotd.pager" in command_line(p)]

    def close(self) -> list[int]:
        """End the pager; whatever else still runs is left over."""
        for pid in self.pagers():
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.processes()


@pytest.fixture(scope="session", autouse=True)
def _kvm(request):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK) and any(
        "e2e" in str(i.path) or "border" in str(i.path) for i in request.session.items
    ):
        pytest.fail("/dev/kvm is missing or may not be opened: these tests need it", pytrace=False)


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: the test is about work without a daemon")


def pytest_generate_tests(metafunc):
    """A module with BOTH_WAYS has every test that uses `quark` run without a daemon and with one."""
    both = getattr(metafunc.module, "BOTH_WAYS", False) and metafunc.definition.get_closest_marker("alone") is None
    if both and "quark" in metafunc.fixturenames:
        metafunc.parametrize("quark", ["alone", "daemon"], indirect=True)


@pytest.fixture
def quark(request, tmp_path):
    """`quark` with an empty state directory; afterwards nothing of it may run any more."""
    q = Quark(tmp_path / "state")
    if getattr(request, "param", "alone") == "daemon":
        q.daemon = Daemon(q.root)
    yield q
    try:
        if q.daemon is not None:
            q.daemon.close()
    finally:
        left = q.close()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left over"


@pytest.fixture
def terminal():
    """Starts commands on terminals."""
    started = []

    def start(command):
        started.append(Terminal([str(word) for word in command]))
        return started[-1]

    yield start
    for t in started:
        t.close()


@pytest.fixture
def make_daemon(quark):
    """Starts the daemon of `quark` with a configuration (TOML), and so many `descriptors` at most."""

    def make(config="", descriptors=0):
        quark.daemon = Daemon(quark.root, config, descriptors)
        return quark.daemon

    return make


@pytest.fixture
def daemon(quark, make_daemon):
    """The daemon of `quark`."""
    return quark.daemon or make_daemon()
