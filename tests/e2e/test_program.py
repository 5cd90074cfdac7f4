"""The program QVisor as the daemon uses it: its commands and events, and what it answers a storer, also one that asks what cannot be."""

import contextlib
import os
import re
import select
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from quark.errors import CaptureError, VmError
from quark.sizes import MEMORY_MAX
from qvisor import process
from qvisor._native import ffi, lib
from qvisor.machine import open_kvm
from qvisor.spec import SandboxSpec
from snapshotd import files
from snapshotd.daemon import capture as captures
from snapshotd.frozen import FrozenMachine, NotFrozenError
from snapshotd.start import ready_cold

SECONDS = 30
LOOP = ("/bin/sh", "-c", "echo on; while :; do sleep 0.05; done")
SPEC = SandboxSpec(("/bin/true",))  # as of all of them, but for the program


class Qvisor:
    """One process; its standard output is a pipe."""

    def __init__(self, memory=MEMORY_MAX):
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(SECONDS)
        kvm = open_kvm()
        process.machine(memory, kvm, parent=os.getpid()).send(self.sock.fileno())
        os.close(kvm)
        with theirs:
            self.pid = process.spawn(theirs.fileno())
        self.out, self._out = os.pipe2(os.O_CLOEXEC)
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.status = None

    def start(self, argv, flags=0, change=None):
        with ready_cold(SandboxSpec(tuple(argv)), "", stdio=(self._null, self._out, self._out)) as ready:
            ready.start.assign.fields.flags |= flags
            if change:
                change(ready.start)
            with contextlib.suppress(VmError):  # what is wrong with its beginning ends it before it has all
                ready.start.send(self.sock.fileno())

    def event(self):
        """The next one; no fields at the end."""
        for _ in range(2):  # "connection reset" stands before the last message
            with contextlib.suppress(ConnectionResetError):
                data = self.sock.recv(1 << 16)
                break
        return data.decode().split("\0") if data else []

    def tell(self, command, *fds):
        socket.send_fds(self.sock, [command.encode()], fds)

    def capture(self):
        ours, theirs = socket.socketpair()
        ours.settimeout(SECONDS)
        self.tell("capture", theirs.fileno())
        theirs.close()
        return ours

    def end(self):
        if self.status is None:
            _, self.status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(self.status)

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.end()
        self.sock.close()
        for fd in (self.out, self._out, self._null):
            os.close(fd)


@pytest.fixture
def qvisor():
    made = []

    def make(**options):
        made.append(Qvisor(**options))
        return made[-1]

    yield make
    for q in made:
        q.close()


def read_some(fd):
    assert select.select([fd], [], [], SECONDS)[0]
    return os.read(fd, 4096)


def test_from_the_request_to_the_end(qvisor):
    q = qvisor()
    q.start(["/bin/sh", "-c", "echo hello; exit 7"])
    started, generation, confined_by = q.event()
    assert int(confined_by)
    assert (started, len(generation)) == ("started", 32)
    assert q.event()[:6] == ["ended", "7", "", "0", "0", "0"]
    assert read_some(q.out) == b"hello\n"
    assert q.end() == 7


def test_a_process_that_nobody_wants(qvisor):
    q = qvisor()
    q.sock.shutdown(socket.SHUT_RDWR)
    assert q.end() != 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: setattr(s.assign.fields, "nroots", 0), "roots"),
        (lambda s: setattr(s.assign.fields, "nroots", 34), "roots"),
        (lambda s: s.assign.fields.roots.__setitem__(0, 60), "names descriptor 60"),
        (lambda s: s.assign.fields.roots.__setitem__(0, -1), "lacks the descriptor of a root"),
        (lambda s: setattr(s.assign.fields.boot, "blob_len", 3), "not what it says"),
        (lambda s: setattr(s.assign.fields.boot, "blob_len", 0xFFFFFFFF), "not what it says"),
        (lambda s: setattr(s.assign.fields.boot, "argc", 1000), "not what it says"),
        (lambda s: setattr(s.assign.fields, "document_len", 1 << 30), "not what it says"),
        (lambda s: setattr(s.assign.fields.boot, "ram_limit", 4096), "less memory"),
        (lambda s: setattr(s.assign.fields.boot, "ram_limit", (64 << 20) + 1), "configure"),
        (lambda s: setattr(s.assign.fields.boot, "ram_limit", 1 << 60), "configure"),
        (lambda s: setattr(s.prepare.fields, "kernel", -1), "lacks the descriptor of the guest kernel"),
        (lambda s: setattr(s.prepare.fields, "flags", lib.QM_CLONE), "lacks the descriptor of the pager"),
    ],
)
def test_a_request_that_is_none(qvisor, change, said):
    """It says what is wrong, and ends, whoever sent it."""
    q = qvisor()
    q.start(["/bin/true"], change=change)
    failed, _, message = q.event()
    assert failed == "failed"
    assert said in message
    assert q.end() > 0


def test_what_it_has_of_the_host(quark):
    """No environment, no working directory, no new privileges; of files /dev/kvm, its roots, its streams and what has no name."""
    command = quark.command("run", "--", *LOOP)
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **streams, text=True, cwd=quark.root.parent) as p:
        try:
            assert p.stdout.readline() == "on\n"
            proc = Path("/proc", str(p.pid))
            assert (proc / "comm").read_text() == "qvisor\n"
            assert (proc / "environ").read_bytes() == b""
            assert os.readlink(proc / "cwd") == "/"
            assert "NoNewPrivs:\t1\n" in (proc / "status").read_text()
            assert re.search(r"Max core file size +0 +0 ", (proc / "limits").read_text())
            open_files = set()
            for fd in (proc / "fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # the guest's shell opens and closes
                    open_files.add(os.readlink(fd))
            named = {f for f in open_files if f.startswith("/") and not f.startswith("/memfd:")}
            # Whatever else there is the guest opened, beneath its root.
            assert {f for f in named if f.startswith("/dev/")} == {"/dev/kvm", "/dev/null"}
            assert "/" in named
            assert not {f for f in named if f.startswith((str(quark.root), os.path.dirname(process.PATH)))}
            assert str(quark.root) not in (proc / "maps").read_text()
        finally:
            p.kill()


def test_pause_and_resume(qvisor):
    q = qvisor()
    q.start(LOOP)
    assert q.event()[0] == "started"
    assert read_some(q.out) == b"on\n"
    for _ in range(20):
        q.tell("pause")
        assert q.event() == ["paused"]
        q.tell("nonsense")
        q.tell("resume")
        assert q.event() == ["resumed"]


def test_it_ends_with_who_started_it(qvisor):
    q = qvisor()
    q.start(LOOP)
    assert q.event()[0] == "started"
    q.sock.close()
    assert q.end() != 0


def test_a_storer_reads_it_while_it_goes_on(qvisor):
    q = qvisor()
    q.start(LOOP)
    assert q.event()[0] == "started"
    assert read_some(q.out) == b"on\n"
    for _ in range(3):
        with q.capture() as sock:
            machine = FrozenMachine(sock, SPEC)
            data, _, _ = machine.scan(private_only=False)
            pages = list(machine.pages())
            assert sum(len(p) for _, p in pages) == data * 4096 > 0
            assert [g for g, _ in pages] == sorted(g for g, _ in pages)
            assert machine.handle(0) < 0
            assert machine.handle(1 << 31) < 0
            fds = [fd for fd in map(machine.handle, range(3, 40)) if fd >= 0]
            assert fds, "the shell's file is open"
            for fd in fds:
                os.close(fd)
    q.tell("pause")
    assert q.event() == ["paused"]


@pytest.mark.parametrize(
    "ask", [b"", b"\1", struct.pack("<II", 9, 0), struct.pack("<II", 3, 0), b"\xa5" * 64], ids=bytes.hex
)
def test_a_storer_that_asks_nonsense_is_let_go(qvisor, ask):
    q = qvisor()
    q.start(LOOP)
    assert q.event()[0] == "started"
    with q.capture() as sock, contextlib.suppress(ConnectionResetError):
        FrozenMachine(sock, SPEC)
        sock.sendall(ask)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass
    with q.capture() as again:
        assert FrozenMachine(again, SPEC).scan(private_only=False)[0] > 0


@pytest.mark.parametrize("flags", [0, lib.QM_ONCE | lib.QM_WANT_READY], ids=["goes on", "ends"])
def test_a_storer_that_does_nothing_does_not_hold_up_its_end(qvisor, monkeypatch, flags):
    """It lives, and keeps its socket open."""
    monkeypatch.setattr(captures, "UNASKED_SECONDS", 1)
    q = qvisor()
    q.start(["/bin/sh", "-c", "echo ready >/dev/quark; read line; exit 3"], flags)
    assert q.event()[0] == "started"
    if flags:
        assert q.event() == ["parked"]
    machine, storer = captures.machine_sockets()
    with storer:
        q.tell("capture", machine.fileno())
        machine.close()
        storer.settimeout(SECONDS)
        assert FrozenMachine(storer, SPEC).ram_bytes
        assert q.event()[:2] == ["ended", "0" if flags else "3"]
        assert q.end() == (0 if flags else 3)


def test_it_stands_still_for_a_capture_that_is_its_end(qvisor):
    q = qvisor()
    q.start(["/bin/sh", "-c", "echo ready >/dev/quark; echo never"], lib.QM_ONCE | lib.QM_WANT_READY)
    assert q.event()[0] == "started"
    assert q.event() == ["parked"]
    with q.capture() as sock:
        assert FrozenMachine(sock, SPEC).scan(private_only=False)[0] > 0
    assert q.event()[:2] == ["ended", "0"]
    assert not select.select([q.out], [], [], 0)[0]


def test_an_end_before_the_capture(qvisor):
    q = qvisor()
    q.start(["/bin/true"], lib.QM_ONCE)
    ours, theirs = socket.socketpair()
    assert q.event()[0] == "started"
    assert q.event()[0] == "ended"
    theirs.close()
    with ours, pytest.raises(NotFrozenError):
        FrozenMachine(ours, SPEC)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 0},
        {"ring": 0},
        {"ram_bytes": 0},
        {"ram_bytes": 1 << 60},
        {"ram_bytes": 4096},
        {"ram_bytes": SPEC.memory + lib.QK_SLOT_SIZE},
        {"ram_used": 1 << 40},
        {"state_bytes": 1 << 40},
        {"recipes_bytes": 1 << 40},
    ],
    ids=str,
)
def test_a_machine_that_lies_is_not_believed(fields):
    sound = {"version": lib.QM_VERSION, "ring": 2, "ram_bytes": lib.QK_SLOT_SIZE, "state_bytes": lib.qv_state_size()}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(ffi.buffer(ffi.new("struct qm_frozen *", {**sound, **fields})))
        with pytest.raises(CaptureError, match="what cannot be"):
            FrozenMachine(ours, SPEC)


def test_open_files_that_cannot_be_are_not_believed():
    """As many as it likes, say, of which each would be read to its end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        recipe = files._RECIPE.pack(3, *(17 * [0]))
        head = {"version": lib.QM_VERSION, "ring": 2, "ram_bytes": lib.QK_SLOT_SIZE, "state_bytes": lib.qv_state_size()}
        theirs.sendall(ffi.buffer(ffi.new("struct qm_frozen *", {**head, "recipes_bytes": 2 * len(recipe)})))
        theirs.sendall(bytes(lib.qv_state_size()) + 2 * recipe)
        with pytest.raises(CaptureError, match="what cannot be"):
            FrozenMachine(ours, SPEC)


@pytest.mark.parametrize(
    ("count", "runs"),
    [
        (1 << 40, []),
        (1, [(0, 0)]),
        (1, [(1 << 60, 1)]),
        (1, [(0, 1 << 31)]),
        (2, [(5, 2), (6, 1)]),
        (2, [(9, 1), (3, 1)]),
    ],
)
def test_runs_that_cannot_be_are_not_believed(count, runs):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        head = {"version": lib.QM_VERSION, "ring": 2, "ram_bytes": lib.QK_SLOT_SIZE, "state_bytes": lib.qv_state_size()}
        theirs.sendall(ffi.buffer(ffi.new("struct qm_frozen *", head)))
        theirs.sendall(bytes(lib.qv_state_size()))
        machine = FrozenMachine(ours, SPEC)
        theirs.sendall(struct.pack("<q", count) + bytes(ffi.sizeof("struct qv_scan_stats")))
        theirs.sendall(b"".join(struct.pack("<QII", first, pages, 1) for first, pages in runs))
        with pytest.raises(CaptureError, match="what cannot be"):
            machine.scan(private_only=False)
