"""A guest kernel that is hostile, in QKernel's place: it finds nothing outside its roots, takes no more than its limits, and changes nothing on the host."""

import gc
import hashlib
import os
import resource
import select
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from quark import errors
from quark.sizes import Volume
from quark.snapshot.v1 import snapshots_pb2 as sn
from qvisor import kernel
from qvisor.machine import open_kvm
from qvisor.spec import SandboxSpec
from snapshotd.capture import Frozen
from snapshotd.start import ready_cold
from snapshotd.store import Store
from tests.e2e.capturing import Running

HERE = Path(__file__).parent / "hostile"
REPOSITORY = Path(__file__).parents[2]
SECONDS = 100
MEMORY = 256 << 20
SLOT = 64 << 20  # QK_SLOT_SIZE
WINDOW = 1 << 30  # QK_WINDOW_CHUNKS of QK_WINDOW_CHUNK
SECRET_SIZE = 1029031  # hostile/kernel.c knows it
SECRET = b"SECRET OF THE HOST"
FILE_MAX = 16 << 20  # the disk of whoever runs this is not what is tried
LOOK_SECONDS = 0.5
OWN_MEMORY_KIB = 64 << 10  # what a QVisor may take beside its guest's RAM, generously


@pytest.fixture(scope="session")
def hostile_image(tmp_path_factory):
    """The kernel, linked as QKernel is."""
    elf = tmp_path_factory.mktemp("hostile") / "kernel.elf"
    flags = "-O1 -g -Wall -Wextra -Werror -ffreestanding -fpie -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fcf-protection=none"
    link = "-static -no-pie -nostdlib -fno-asynchronous-unwind-tables -fvisibility=hidden -fno-tree-loop-distribute-patterns -Wl,--build-id=sha1"
    command = ["gcc", *flags.split(), *link.split(), "-Wl,-z,norelro,-z,noexecstack,-z,max-page-size=4096"]
    include = REPOSITORY / "qkernel"
    subprocess.run(
        [*command, f"-I{include / 'include'}", f"-Wl,-T,{include / 'linker.ld'}", "-o", elf, HERE / "start.S", HERE / "kernel.c"],
        check=True,
    )  # fmt: skip
    return elf


def fill(directory, outside):
    """Files of a root, with links that lead away."""
    (directory / "directory").mkdir()
    (directory / "directory" / "file").write_bytes(b"the guest's")
    for name, target in {
        "up": "../outside",
        "away": outside,
        "magic": "/proc/self/root",
        "process": "/proc/self",
    }.items():
        (directory / name).symlink_to(target)


class World:
    """What there is on the host: roots, and beside them what is none of the guest's."""

    def __init__(self, folder):
        self.folder = folder
        self.outside = folder / "outside"
        for name in ("outside", "root", "volume", "read-only", "state"):
            (folder / name).mkdir()
        for secret in (self.outside / "secret", folder / "state" / "secret"):
            secret.write_bytes(SECRET.ljust(SECRET_SIZE, b"\0"))
        for name in ("root", "volume", "read-only"):
            fill(folder / name, self.outside)

    def files(self):
        """All that the guest must not change: name, attributes, content."""
        found = {}
        for part in ("outside", "root", "read-only", "state"):
            for path in sorted([self.folder / part, *(self.folder / part).rglob("*")]):
                s = path.lstat()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(s.st_mode) else ""
                fields = (s.st_mode, s.st_uid, s.st_gid, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)
                found[str(path)] = (*fields, content)
        return found

    def spec(self, what, volume="volume", read_only="read-only"):
        volumes = (
            Volume(str(self.folder / volume), "/volume"),
            Volume(str(self.folder / read_only), "/read-only", read_only=True),
        )
        return SandboxSpec(("hostile", what), rootfs=str(self.folder / "root"), volumes=volumes, memory=MEMORY)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def children():
    mine = str(os.getpid())
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[1] == mine and fields[0] not in "ZX":
                found.add(int(entry.name))
    return found


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


class Hostile:
    """A sandbox of the hostile kernel; its output is a pipe."""

    def __init__(self, world, what, **options):
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.out, theirs = os.pipe2(os.O_CLOEXEC)
        kvm = open_kvm()
        with ready_cold(
            world.spec(what, **options), str(world.folder / "state"), stdio=(null, theirs, theirs)
        ) as ready:
            self.pid = ready.start.spawn(MEMORY, kvm)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (FILE_MAX, FILE_MAX))
        for fd in (null, theirs, kvm):
            os.close(fd)
        self.text, self.status, self.most = "", None, {}

    def read(self, seconds):
        """Read what has come; False: that is all."""
        if not select.select([self.out], [], [], seconds)[0]:
            return True
        data = os.read(self.out, 65536)
        self.text += data.decode(errors="replace")
        return bool(data)

    def look(self):
        """What it takes of the host, at most."""
        try:
            fields = status_of(self.pid)
            now = {
                "threads": int(fields["Threads"]),
                "rss": int(fields.get("VmRSS", "0 kB").split()[0]),
                "swap": int(fields.get("VmSwap", "0 kB").split()[0]),
            }
            assert int(fields["CapEff"], 16) == 0 or os.geteuid() != 0
            assert not any(
                int(p.joinpath("stat").read_text().rpartition(")")[2].split()[1]) == self.pid
                for p in Path("/proc").iterdir()
                if p.name.isdecimal() and p.joinpath("stat").exists()
            ), "it has a child"
        except (OSError, KeyError, IndexError):
            return
        self.most = {k: max(v, self.most.get(k, 0)) for k, v in now.items()}

    def until(self, text):
        deadline = time.monotonic() + SECONDS
        while text not in self.text:
            assert self.read(1), self.text
            assert time.monotonic() < deadline, self.text

    def end(self):
        """Exit status."""
        deadline = time.monotonic() + SECONDS
        while self.read(LOOK_SECONDS):
            self.look()
            assert time.monotonic() < deadline, self.text
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        started = time.monotonic()
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return time.monotonic() - started


@pytest.fixture
def hostile(world, hostile_image, monkeypatch):
    """Starts it; afterwards the host is as it was."""
    monkeypatch.setattr(kernel, "PATH", str(hostile_image))
    started = []
    gc.collect()  # what earlier tests left open is closed now, not during this one
    before = world.files(), children(), len(os.listdir("/proc/self/fd"))

    def start(what, **options):
        started.append(Hostile(world, what, **options))
        return started[-1]

    yield start
    for h in started:
        if h.status is None:
            h.kill()
        os.close(h.out)
        assert h.most.get("threads", 0) <= 4, h.most
        assert h.most.get("rss", 0) <= (MEMORY >> 10) + OWN_MEMORY_KIB, h.most
    assert (world.files(), children(), len(os.listdir("/proc/self/fd"))) == before
    for path in (world.folder / "volume").rglob("*"):
        mode = path.lstat().st_mode
        assert not stat.S_ISBLK(mode), path
        assert not stat.S_ISCHR(mode), path
        assert not mode & (stat.S_ISUID | stat.S_ISGID), path


def test_it_is_another_kernel(hostile):
    h = hostile("nothing")
    assert (h.end(), h.text) == (0, "")


def test_no_name_leads_away(hostile):
    h = hostile("paths")
    assert (h.end(), h.text) == (0, "done\n")


def test_it_would_tell(hostile):
    h = hostile("paths", read_only="outside")
    assert h.end() == 0
    assert {"read the secret through root 2", "told of the secret by 8"} <= set(h.text.splitlines())


def test_no_exchanged_name_leads_away(hostile, world):
    """The host's names change while they are walked."""
    volume, stop = world.folder / "volume", threading.Event()
    (volume / "swap").mkdir()
    (volume / "swap" / "inner").mkdir()
    (volume / "link").symlink_to(world.outside)

    def exchange():
        while not stop.is_set():
            for name, other in (("swap", "aside"), ("link", "swap"), ("swap", "link"), ("aside", "swap")):
                try:
                    os.rename(volume / name, volume / other)
                except OSError:
                    continue

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        h = hostile("swaps")
        assert (h.end(), h.text) == (0, "done\n")
    finally:
        stop.set()
        thread.join()


def test_every_request(hostile):
    h = hostile("requests")
    status = h.end()
    lines = h.text.splitlines()
    assert status == 0, h.text
    assert lines[-1].startswith("requests "), h.text


def test_limits(hostile):
    h = hostile("exhaust")
    assert h.end() == 0
    lines = dict(line.rsplit(" ", 1) for line in h.text.splitlines())
    assert set(lines) == {"handles end with", "memory ends with", "chunks"}, h.text
    assert int(lines["handles end with"]) in {-23, -24}  # ENFILE, EMFILE
    assert int(lines["memory ends with"]) == -12
    assert int(lines["chunks"]) <= 512


def test_a_file_that_cannot_be_mapped_leaves_no_gap(hostile, slow_files):
    """Where the guest has its memory nothing of QVisor's own can come to lie: all of it stays mapped."""
    h = hostile("holes", volume=slow_files().where.name)
    h.until("last -19\n")  # ENODEV
    assert h.text == "mapped 0\nlast -19\n"
    reserved = 0
    for line in Path(f"/proc/{h.pid}/maps").read_text().splitlines():
        first, end = line.split()[0].split("-")
        reserved += int(end, 16) - int(first, 16) if line.split()[1:5] == ["---p", "00000000", "00:00", "0"] else 0
    assert reserved >= WINDOW + MEMORY - SLOT
    h.kill()


def test_rings_that_cannot_be(hostile):
    h = hostile("rings")
    assert (h.end(), h.text) == (0, "done\n")


@pytest.mark.parametrize(("what", "said"), [("exits", "looping\n"), ("waits", "waiting\n")])
def test_it_is_killed_whatever_it_does(hostile, what, said):
    h = hostile(what)
    h.until(said)
    time.sleep(0.3)
    h.look()
    assert h.kill() < 20
    assert h.status == -signal.SIGKILL


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("panics", errors.GuestPanicError),
        ("port", errors.VmError),
        ("memory", errors.VmError),
        ("exception", errors.VmError),
    ],
)
def test_how_it_ends(hostile, what, error):
    h = hostile(what)
    assert h.end() == error.exit_code, h.text
    assert h.text.startswith("quark: ")
    assert all(c.isprintable() or c in "\n\t" for c in h.text)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["asks", "loops", "waits", "excepts", "nothing"])
def test_before_its_request(quark, make_daemon, connect, world, hostile_image, how):
    """A machine that is prepared runs, and may ask for nothing; the daemon goes on without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "PATH", str(hostile_image))
        sandbox = Running(SandboxSpec(("hostile", "ahead-" + how), rootfs=str(world.folder / "root"), memory=MEMORY))
        machine, *_ = sandbox.machine()
    quark.root.mkdir(exist_ok=True)
    with Store.open(quark.root) as store:
        Frozen(machine, sandbox.spec).store(store, "hostile", trigger="after")
    assert sandbox.end()[0] == 0
    daemon = make_daemon("prepared_seconds = 600")
    api = connect(f"unix:{daemon.socket}", daemon)
    assert api.run(clone="hostile").stdout == b"ran\n"  # records the working set
    if how == "nothing":
        api.snapshots.WarmSnapshot(sn.WarmSnapshotRequest(name="hostile", clones=1), timeout=60)
        assert api.run(clone="hostile").stdout == b"ran\n"
        assert api.numbers().prepared_taken == 1
        return
    with api.failure("RESOURCE_EXHAUSTED"):
        api.snapshots.WarmSnapshot(sn.WarmSnapshotRequest(name="hostile", clones=1), timeout=60)
    assert api.run(clone="hostile").stdout == b"ran\n"
    assert api.numbers().prepared_taken == 0


def test_a_park_that_nobody_asked_for(hostile):
    h = hostile("park")
    assert h.end() == 0, h.text
