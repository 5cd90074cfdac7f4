"""Requests that no command of ours sends: the pager and the daemon answer them, or hang up, and nobody else notices."""

import array
import ctypes
import os
import socket
import tempfile
from pathlib import Path

import pytest

UNREAD = 20000  # answers: more than a socket holds
SECONDS = 30


def connect(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(SECONDS)
    sock.connect(str(path))
    return sock


def send(sock, *fields, fds=()):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg(["\0".join(fields).encode()], rights)


def attached(path):
    sock = connect(path)
    send(sock, "attach", "s")
    assert sock.recv(100).startswith(b"ok\0")
    return sock


def is_hung_up_on(sock):
    try:
        return sock.recv(100) == b""
    except ConnectionError:
        return True


def no_userfaultfd(sock):
    with tempfile.TemporaryFile() as file:
        send(sock, "uffd", "4096", fds=[file.fileno()])
    return is_hung_up_on(sock)


def a_pipe_for_a_userfaultfd(sock):
    read, write = os.pipe()
    send(sock, "uffd", "4096", fds=[read])
    os.close(read)
    os.close(write)
    return is_hung_up_on(sock)


def a_table_of_a_terabyte(sock):
    fd = os.memfd_create("table")
    os.ftruncate(fd, 1 << 40)
    send(sock, "files", str(1 << 40), fds=[fd])
    os.close(fd)
    return sock.recv(1000).startswith(b"error\0CorruptBlobError\0")


def a_file_for_a_table(sock):
    with open("/proc/self/stat", "rb") as file:
        send(sock, "files", "8", fds=[file.fileno()])
    return sock.recv(1000).startswith(b"error\0CorruptBlobError\0")


def another_image(sock):
    send(sock, "attach", "s")
    return is_hung_up_on(sock)


def answers_that_nobody_reads(sock):
    try:
        for _ in range(UNREAD):
            send(sock, "totals")
    except ConnectionError:
        return True
    return False


def test_what_one_clone_sends_is_no_matter_of_the_others(quark):
    done = quark("snapshot", "create", "s", "--ready-file", "--", "/bin/sh", "-c", "echo ready >/dev/quark; read x")
    assert done.status == 0, done.err
    path = quark.root / "run" / "default" / "pager.sock"
    assert quark("run", "--from-snapshot", "s").status in {0, 1}  # starts the pager
    with attached(path) as other:
        for bad in (
            no_userfaultfd,
            a_pipe_for_a_userfaultfd,
            a_table_of_a_terabyte,
            a_file_for_a_table,
            another_image,
            answers_that_nobody_reads,
        ):
            with attached(path) as sock:
                assert bad(sock), bad
            send(other, "stats")
            assert other.recv(100) == b"0\x000", bad


PIDFD_GETFD = 438  # x86-64


def socket_of_a_qvisor(pid, number):
    """A copy of its connection to the pager: the one of its sockets whose other end has that name."""
    pidfd = os.pidfd_open(pid)
    try:
        fd = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, pidfd, number, 0)
        assert fd >= 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(pidfd)
    sock = socket.socket(fileno=fd)
    if str(sock.getpeername()).endswith("/pager.sock"):
        sock.settimeout(SECONDS)
        return sock
    sock.close()
    return None


def connections(pid):
    found = [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if os.readlink(fd).startswith("socket:")]
    return [sock for fd in found if (sock := socket_of_a_qvisor(pid, int(fd.name)))]


@pytest.mark.parametrize("request_", ["files 8", "contents", "warm s", "cool s", "prune", "totals", "prefetch"])
def test_a_qvisor_speaks_for_its_own_clone_alone(quark, request_):
    """What its guest has it say after a takeover changes nothing that other clones get: the pager hangs up."""
    done = quark(
        "snapshot", "create", "s", "--ready-file", "--", "/bin/sh", "-c", "echo ready >/dev/quark; echo on; read x"
    )
    assert done.status == 0, done.err
    with quark.start("run", "--from-snapshot", "s") as clone:
        assert clone.stdout.read(3) == b"on\n"
        path = quark.root / "run" / "default" / "pager.sock"
        with attached(path) as other:
            (sock,) = connections(clone.pid)
            with sock:
                fd = os.memfd_create("table")
                os.write(fd, bytes(8))
                send(sock, *request_.split(), fds=[fd])
                os.close(fd)
                assert is_hung_up_on(sock)
            assert clone.wait(SECONDS) == 67
            send(other, "stats")
            assert other.recv(100) == b"0\x000"
    assert quark("run", "--from-snapshot", "s").out == "on\n"


SPEC = ["/", "/", str(64 << 20), "auto", "quark", "0", "0", "0", "0", "0", "1", "/bin/true", "0"]


def spec(**changes):
    names = ("cwd", "rootfs", "memory", "ring", "hostname", "uid", "gid", "ignored", "disk", "reseed", "argc")
    out = list(SPEC)
    for name, value in changes.items():
        out[names.index(name)] = value
    return out


@pytest.mark.parametrize(
    "request_",
    [
        ["run"],
        ["run", "", "detached", "0 0", "cold", *SPEC],
        ["run", "", "detached", "0 0 0", "cold", *SPEC[:5]],
        ["run", "", "detached", "0 0 0", "cold", *spec(ring="ring7")],
        ["run", "", "detached", "0 0 0", "cold", *spec(uid=str(1 << 63))],
        ["run", "", "detached", "0 0 0", "cold", *spec(memory="-1")],
        ["run", "", "detached", "0 0 0", "cold", *spec(argc="many")],
        ["run", "", "detached", "0 0 0", "clone", "s", "none", "", "5", "", "1", "0", "", "0", "0"],
        ["run", "", "detached", "0 0 0", "cold", *spec(rootfs="/no\nsuch")],
    ],
)
def test_a_request_that_is_none_has_one_clear_answer(daemon, request_):
    data = "\0".join(request_).encode()
    with connect(daemon.socket.with_name("session.sock")) as sock:
        send(sock, "begin", str(len(data)))
        sock.send(data)
        kind, name, text = sock.recv(10000).split(b"\0")
    assert (kind, name) == (b"error", b"RootfsError" if "/no\nsuch" in request_ else b"UsageError")
    assert text
    assert b"\n" not in text
