"""The clone's side of the pager: connect (starting the pager when there is none), attach, hand over the userfaultfd."""

from __future__ import annotations

import errno
import os
import sys
import time

from quark import errors
from quark.errors import named_error
from qvisor._native import ffi, lib
from snapshotd.layout import Layout

START_SECONDS = 10.0
WAIT_SECONDS, STALLED_SECONDS = 0.02, 5.0  # for an image to be complete
LOG_MAX = 1 << 20
MESSAGE_MAX = 64 << 10  # snapshotd.wire
LOST: str = ffi.string(lib.QM_LOST).decode()


class Attachment:
    """A clone's hold on an image. The socket stays open for as long as the clone runs. `prefetching`: the next answer says that the working set is there."""

    def __init__(
        self, sock: int, image_fd: int, layout_fd: int, layout: Layout, *, complete: bool, snapshot_id: str
    ) -> None:
        self.sock = sock
        self.image_fd = image_fd
        self.layout_fd = layout_fd
        self.layout = layout
        self.complete = complete
        self.snapshot_id = snapshot_id
        self.prefetching = False

    def start_prefetch(self) -> None:
        """Ask the pager to bring in the working set, while the machine is being made."""
        send(self.sock, ["prefetch"])
        self.prefetching = True

    def finish_prefetch(self) -> None:
        """Wait until the working set is in the image.

        Raises:
            PagerLostError: the pager is gone, or the snapshot is damaged.
        """
        if self.prefetching and not receive(self.sock)[0]:
            raise errors.PagerLostError(LOST)
        self.prefetching = False

    def lost(self) -> bool:
        """Whether the pager is gone."""
        return ended(self.sock)

    def contents(self) -> int:
        """Descriptor of the contents of files that the snapshot contains; the caller's.

        Raises:
            QuarkError: they cannot be had.
        """
        self.finish_prefetch()  # its answer would come first
        return ask(self.sock, "contents")[1][0]

    def send_files(self, fd: int, size: int) -> None:
        """Tell the pager where this host has the files."""
        send(self.sock, ["files", str(size)], fd)

    def hand_over(self) -> None:
        """The socket is a QVisor's from now on: the pager believes it no more than that."""
        send(self.sock, ["guest"])

    def close(self) -> None:
        """Let go."""
        for fd in (self.sock, self.image_fd, self.layout_fd):
            if fd >= 0:
                os.close(fd)
        self.sock = self.image_fd = self.layout_fd = -1


def send(sock: int, fields: list[str], fd: int = -1) -> int:
    """Send one message with at most one descriptor; 0 or -errno."""
    data = "\0".join(fields).encode("utf-8", "surrogateescape")
    return int(lib.qc_send(sock, data, len(data), [fd], fd >= 0))


def receive(sock: int) -> tuple[list[str], list[int]]:
    """Fields and two descriptors (-1: not sent); no fields when the pager is gone."""
    buf = ffi.new("char[]", MESSAGE_MAX)
    fds = ffi.new("int[2]")
    n = lib.qc_receive(sock, buf, MESSAGE_MAX, fds, 2)
    return bytes(ffi.buffer(buf, n)).decode("utf-8", "surrogateescape").split("\0") if n > 0 else [], list(fds)


def find(root: str, domain: str) -> int:
    """Connection to the pager of a domain of `root`, or -errno: ENOENT or ECONNREFUSED when there is none."""
    try:
        directory = os.open(os.path.join(root, "run", domain), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -errno.ENOENT
    sock = lib.qc_connect(directory)
    os.close(directory)
    return int(sock)


def ended(sock: int) -> bool:
    """Whether the pager at the other end of a connection is gone."""
    import select

    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


def connect(root: str, domain: str, key: str) -> int:
    """Connection to the pager of a domain of `root`, which is started when there is none.

    Raises:
        PagerLostError: it does not come up.
    """
    run = os.path.join(root, "run", domain)
    deadline = 0.0
    while True:
        sock = find(root, domain)
        if sock >= 0:
            return sock
        if sock not in {-errno.ENOENT, -errno.ECONNREFUSED}:
            raise errors.PagerLostError(f"the pager of {root} cannot be reached: {os.strerror(-sock)}")
        if not deadline:
            start(root, domain, key)
            deadline = time.monotonic() + START_SECONDS
        if time.monotonic() > deadline:
            raise errors.PagerLostError(
                f"the pager of {root} did not start within {START_SECONDS:.0f} s; see {run}/pager.log"
            )
        time.sleep(0.002)


def start(root: str, domain: str, key: str) -> None:
    """Start a pager that outlives this process. It ends by itself when idle."""
    run = os.path.join(root, "run", domain)
    os.makedirs(run, mode=0o700, exist_ok=True)
    # What the last one said before it ended has to be there still when somebody looks for it.
    log = os.open(os.path.join(run, "pager.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if os.fstat(log).st_size > LOG_MAX:
        os.ftruncate(log, 0)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    package_parent = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "snapshotd.pager", root, "--domain", domain, *(["--key", key] if key else [])],
        {**os.environ, "PYTHONPATH": package_parent},
        file_actions=[(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
        setsid=True,
        setsigmask=(),
    )
    os.close(log)
    os.close(null)


def attach(root: str, name: str, domain: str = "default", key: str = "") -> Attachment:
    """Attach to the image of snapshot `name`. `key` is a source (snapshotd.keys) for the case that the pager has to be started.

    Raises:
        QuarkError: what the pager found wrong with the snapshot, as the same class it raised there.
    """
    if not os.path.isdir(root):
        raise named_error(
            "SnapshotUnknownError", f"snapshot {name!a} does not exist; {root} is no state directory, see --root"
        )
    for last in (False, True):
        sock = connect(root, domain, key)
        try:
            fields, (image_fd, layout_fd) = ask(sock, "attach", name)
            break
        except errors.PagerLostError:
            os.close(sock)
            if last:
                raise
            # It ended for want of work just when this clone came: another one does it.
        except BaseException:
            os.close(sock)
            raise
    size = os.fstat(layout_fd).st_size
    layout = Layout.unpack(os.pread(layout_fd, size, 0))
    return Attachment(sock, image_fd, layout_fd, layout, complete=fields[1] == "complete", snapshot_id=fields[2])


def attach_whole(root: str, name: str, domain: str, key: str) -> Attachment:
    """As `attach`. Where this process may not have its faults answered, wait until the pager has all pages of the image, as long as more come.

    Raises:
        QuarkError: as of `attach`.
    """
    blocks, since = 0, time.monotonic()
    while True:
        attachment = attach(root, name, domain, key)
        if attachment.complete or _may_fault():
            return attachment
        time.sleep(WAIT_SECONDS)
        if (now := os.fstat(attachment.image_fd).st_blocks) > blocks:
            blocks, since = now, time.monotonic()
        elif time.monotonic() - since > STALLED_SECONDS:
            return attachment
        attachment.close()


def _may_fault() -> bool:
    """Whether a QVisor of this user can have a userfaultfd that sees the faults of its guest (man 2 userfaultfd)."""
    if os.geteuid() == 0 or os.access("/dev/userfaultfd", os.R_OK | os.W_OK):
        return True
    try:
        with open("/proc/sys/vm/unprivileged_userfaultfd") as f:
            return f.read().strip() == "1"
    except FileNotFoundError:
        return False


def ask(sock: int, *request: str) -> tuple[list[str], list[int]]:
    """One request and its answer: fields and two descriptors.

    Raises:
        PagerLostError: the pager ended.
        QuarkError: the error it answered with.
    """
    send(sock, list(request))
    fields, fds = receive(sock)
    if not fields:
        raise errors.PagerLostError(f"the pager ended during {' '.join(request)!r}; its log is pager.log below run/")
    if fields[0] == "error":
        raise named_error(fields[1], fields[2])
    return fields, fds
