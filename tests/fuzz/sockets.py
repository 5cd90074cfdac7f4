"""What the fuzzers of protocols share: messages of NUL-separated fields with descriptors on a SOCK_SEQPACKET socket, and their mutation."""

import array
import contextlib
import ctypes
import fcntl
import os
import socket
import tempfile
import time
from pathlib import Path

from mutations import EDGES, TEXTS, mutate_bytes

ANSWER_SECONDS = 60  # nobody is kept waiting longer
MESSAGE_MAX = 64 << 10
FDS_MAX = 16
USERFAULTFD_CALL = 323  # x86-64
USER_MODE_ONLY = 1  # UFFD_USER_MODE_ONLY, linux/userfaultfd.h
UFFDIO_API, UFFD_API = 0xC018AA3F, 0xAA
ERROR_WORDS = ("Traceback", "exception was never retrieved", "Exception in callback")  # of a log


def connect(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(ANSWER_SECONDS)
    sock.connect(str(path))
    return sock


def userfaultfd():
    """One that watches nothing yet."""
    fd = ctypes.CDLL(None, use_errno=True).syscall(USERFAULTFD_CALL, os.O_CLOEXEC | os.O_NONBLOCK | USER_MODE_ONLY)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    fcntl.ioctl(fd, UFFDIO_API, UFFD_API.to_bytes(8, "little") + bytes(16))
    return fd


class Descriptors:
    """Of every kind that somebody may send."""

    KINDS = ("memfd", "empty", "null", "zero", "pipe", "directory", "socket", "file", "path", "uffd")

    def __init__(self):
        read, write = os.pipe()
        near, far = socket.socketpair()
        self._kept = (write, near, far)
        memfd = os.memfd_create("fuzz")
        os.write(memfd, bytes(4096))
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(bytes(64))
        self.fds = {
            "memfd": memfd,
            "empty": os.memfd_create("fuzz"),
            "null": os.open("/dev/null", os.O_RDWR),
            "zero": os.open("/dev/zero", os.O_RDWR),
            "pipe": read,
            "directory": os.open("/", os.O_RDONLY),
            "socket": near.fileno(),
            "file": os.open(file.name, os.O_RDWR),
            "path": os.open("/", os.O_PATH),
            "uffd": userfaultfd(),
        }
        os.unlink(file.name)

    def of(self, kinds):
        return [self.fds[k] for k in kinds]


def send(sock, fields, fds=()):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([b"\0".join(fields)[:MESSAGE_MAX]], rights)


def receive(sock):
    """The next message, without its descriptors; empty: the end. Reading the image is all that one may with what comes."""
    fds = array.array("i")
    try:
        data, ancillary, _, _ = sock.recvmsg(MESSAGE_MAX, socket.CMSG_SPACE(FDS_MAX * fds.itemsize))
    except ConnectionError:
        return []
    for _, _, payload in ancillary:
        fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    for fd in fds:
        os.close(fd)
    return data.split(b"\0") if data else []


def rest(sock):
    """The messages up to the end, after this side has ended."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
    return list(iter(lambda: receive(sock), []))


def mutate_fields(rng, fields):
    """One field becomes another, is doubled, or goes."""
    fields = list(fields)
    at = rng.randrange(len(fields))
    kind = rng.randrange(7)
    if kind == 0:
        fields[at:at] = [fields[at]] * rng.choice((1, 1, 100))
    elif kind == 1 and len(fields) > 1:
        del fields[at]
    elif kind == 2:
        fields[at] = mutate_bytes(rng, fields[at])
    elif kind == 3:
        fields[at] = rng.choice(TEXTS).encode("utf-8", "surrogatepass")[: MESSAGE_MAX // 2]
    elif kind == 4:
        fields[at] = rng.choice(fields)
    else:
        fields[at] = str(rng.choice(EDGES) * rng.choice((1, 1, -1))).encode()
    return fields


def mutate_messages(rng, messages):
    """A few changes of a list of messages."""
    messages = list(messages)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(messages))
        fields, kinds = messages[at]
        kind = rng.randrange(7)
        if kind == 0:
            messages.insert(at, rng.choice(messages))
        elif kind == 1 and len(messages) > 1:
            del messages[at]
        elif kind == 2:
            messages[at] = (fields, rng.choices(Descriptors.KINDS, k=rng.choice((0, 1, 1, 2, 3, 5))))
        else:
            messages[at] = (mutate_fields(rng, fields), kinds)
    return messages


def is_one_error(fields):
    """`error CLASS TEXT`, of a class of ours, in one line."""
    return len(fields) == 3 and fields[1].endswith(b"Error") and b"\n" not in fields[2] and bool(fields[2])


def count_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def until(condition, what):
    deadline = time.monotonic() + ANSWER_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def check_log(log: Path):
    text = log.read_text(errors="replace")
    for word in ERROR_WORDS:
        assert word not in text, text[-4000:]
