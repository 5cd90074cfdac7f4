"""Fixtures of all tests."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
QUARK = REPOSITORY / ".venv" / "bin" / "quark"


@dataclass(frozen=True)
class Done:
    """How a command ended. status: negative for a signal."""

    status: int
    out: str
    err: str


class Quark:
    """The command, with a state directory of its own."""

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
        """Live processes that name the state directory: sandboxes and the pager."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if os.fsencode(self.root) in words and state != "Z":
                found.append(int(entry.name))
        return found

    def pagers(self) -> list[int]:
        return [p for p in self.processes() if b"snapshotd.pager" in Path(f"/proc/{p}/cmdline").read_bytes()]

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
    if not os.access("/dev/kvm", os.R_OK | os.W_OK) and any("e2e" in str(i.path) for i in request.session.items):
        pytest.fail("/dev/kvm is missing or may not be opened: these tests need it", pytrace=False)


@pytest.fixture
def quark(tmp_path):
    """`quark` with an empty state directory; afterwards nothing of it may run any more."""
    q = Quark(tmp_path / "state")
    yield q
    left = q.close()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left over"
