"""The pager: a process that owns the images of one domain of a state directory and answers the page faults of clones.

Usage: python -m snapshotd.pager ROOT [--domain NAME] [--key SOURCE] [--idle SECONDS] [--no-fill]

Started by the first clone (snapshotd.client), it ends when nobody has been connected for the idle time. Clones attach through its socket, get the
image and the layout as descriptors, hand over a userfaultfd when the image still has holes, and stay connected for as long as they run: a
connection that ends is a clone that ended, and a pager that ends is noticed by its clones, which cannot go on without it. The daemon
connects too: it keeps images warm and reads the counters.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quark.errors import QuarkError
from qvisor import kernel
from qvisor._native import ffi, lib
from snapshotd import client, wire
from snapshotd.image import PAGE, Image
from snapshotd.keys import load_key
from snapshotd.layout import RUN, WORKING_SET_RUNS, is_working_set
from snapshotd.metadata import check_host
from snapshotd.store import Store
from snapshotd.store.errors import CorruptBlobError, DiskFullError, SnapshotUnknownError

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_SECONDS = 60.0
FAULT_BATCH = 64
PREFETCH_CHUNKS = 16
ACCEPT_SECONDS = 0.05
LOCK_POLL = 0.002
OF_A_GUEST = {"uffd", "working-set", "stats"}  # what a QVisor says
USERFAULTFD = "anon_inode:[userfaultfd]"  # what such a descriptor is called below /proc
KEEP_IMAGES = 8  # without a clone: least recently used ones beyond this are dropped


class Clone:
    """One attached connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.guest = False  # it is a QVisor's, whose guest may have taken it over
        self.image: Image | None = None
        self.uffd = -1
        self.base = 0
        self.faults = 0
        self.pages = 0


class Pager:
    """The event loop. One thread: a fault is answered before the next background chunk is read."""

    def __init__(self, root: str, domain: str, key: str, listener: socket.socket, *, idle: float, fill: bool) -> None:
        self.root = root
        self.domain = domain
        self.key_source = key
        self.key: bytes | None = None
        self.pinned: set[str] = set()
        self.faults = 0
        self.listener = listener
        self.idle = idle
        self.fill = fill
        self.images: dict[str, Image] = {}
        self.old: list[Image] = []  # let go, but some clone still uses it
        self.clones: dict[int, Clone] = {}
        self.waiting: list[Clone] = []  # for their working sets
        self.selector = selectors.EpollSelector()
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        self.addresses = ffi.new("uint64_t[]", FAULT_BATCH)
        self.kernel_stamp: tuple[int, int] | None = None
        self.kernel_id = ""

    def run(self) -> None:
        """Serve until idle for long enough."""
        last = time.monotonic()
        while True:
            work = self.prefetch_step() or (self.fill and self.fill_step())
            needed = work or self.needed()
            for key, _ in self.selector.select(0 if work else self.idle):
                key.data(key.fileobj)
            now = time.monotonic()
            if needed or self.needed():
                last = now
            elif now - last >= self.idle:
                return

    def needed(self) -> bool:
        """Whether there is a clone, or somebody who keeps images warm. Who only asks for numbers needs no pager."""
        return any(c.image is not None for c in self.clones.values()) or bool(self.pinned and self.clones)

    def prefetch_step(self) -> bool:
        """A few chunks for the first of the clones that wait for their working set; False when none does."""
        if not self.waiting:
            return False
        clone = self.waiting[0]
        more = clone.image is not None and self.work_on(clone.image, lambda image: image.prefetch(PREFETCH_CHUNKS))
        if not more and clone in self.waiting:  # it is not when its image is damaged, and it was dropped
            self.waiting.remove(clone)
            self.answer(clone, ["ok"])
        return True

    def fill_step(self) -> bool:
        """One chunk of background work; False when every image is complete."""
        for image in (*self.images.values(), *self.old):
            if not image.complete:
                self.work_on(image, lambda image: image.fill_some(1))
                return True
        return False

    def work_on(self, image: Image, work: Callable[[Image], int]) -> int:
        """Do `work` on an image. One that cannot be completed loses its clones, which cannot go on; the others do not notice."""
        try:
            return work(image)
        except (QuarkError, OSError) as e:  # damaged in the store, unreadable, or no memory for it
            print(f"snapshot {image.name!r}: {e}", file=sys.stderr, flush=True)
            for clone in [c for c in self.clones.values() if c.image is image]:
                self.drop(clone)
            if self.images.get(image.name) is image:
                self.let_go(image)  # else the last of its clones has taken it along
            return 0

    def let_go(self, image: Image) -> None:
        """Close an image, when the last clone that uses it has ended."""
        if self.images.get(image.name) is image:
            del self.images[image.name]
        if image in self.old:
            self.old.remove(image)
        if image in {c.image for c in self.clones.values()}:
            self.old.append(image)
        else:
            image.close()

    def accept(self, _: Any) -> None:
        """Welcome a clone."""
        try:
            sock, _address = self.listener.accept()
        except OSError as e:
            print(f"pager: cannot accept: {e.strerror}", file=sys.stderr, flush=True)
            time.sleep(ACCEPT_SECONDS)  # out of descriptors, say: some clone will end
            return
        sock.setblocking(False)  # a clone that does not read its answers must not be waited for
        self.clones[sock.fileno()] = Clone(sock)
        self.selector.register(sock, selectors.EVENT_READ, self.message)

    def message(self, sock: socket.socket) -> None:
        """Serve one request, or the end of a clone."""
        clone = self.clones.get(sock.fileno())
        if clone is None:
            return  # dropped by what came before in the same batch of events
        fields, fds = wire.receive(sock)
        handlers = {
            "attach": self.attach,
            "uffd": self.take_uffd,
            "working-set": self.take_working_set,
            "files": self.take_files,
            "guest": self.hand_over,
            "contents": self.contents,
            "prefetch": self.prefetch,
            "stats": self.stats,
            "warm": self.warm,
            "cool": self.cool,
            "prune": self.prune,
            "totals": self.totals,
        }
        try:
            if not fields:
                self.drop(clone)
            elif clone.guest and fields[0] not in OF_A_GUEST:
                raise ValueError(f"{fields[0][:40]!a} is not for a guest to say")
            else:
                handlers[fields[0]](clone, fields[1:], fds)
        except QuarkError as e:
            self.answer(clone, ["error", type(e).__name__, str(e)])
        except Exception as e:  # noqa: BLE001 - one clone's request must not be the end of the others
            print(f"pager: dropped a clone: {e!r}", file=sys.stderr, flush=True)
            self.drop(clone)
        finally:
            for fd in fds:
                os.close(fd)

    def answer(self, clone: Clone, fields: list[str], fds: tuple[int, ...] = ()) -> None:
        """Answer one clone. One that is gone meanwhile is dropped, and nobody else notices."""
        try:
            wire.send(clone.sock, fields, fds)
        except OSError:
            self.drop(clone)

    def attach(self, clone: Clone, fields: list[str], _fds: list[int]) -> None:
        """`attach NAME`: answer with `ok complete|partial ID` and the image and layout descriptors, read-only."""
        if clone.image is not None:
            raise ValueError("attached already")
        image = self.image(fields[0])
        clone.image = image
        image_fd = os.open(f"/proc/self/fd/{image.fd}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            state = "complete" if image.complete else "partial"
            self.answer(clone, ["ok", state, image.id], (image_fd, image.layout_fd()))
        finally:
            os.close(image_fd)

    def image(self, name: str) -> Image:
        """The image of a snapshot, opened when it is not, or when another snapshot has the name now."""
        with self.store() as store:
            info = store.get(name)
            image = self.images.get(name)
            if image is not None and (image.id, image.imported) != (info.id, store.is_imported(name)):
                self.let_go(image)
                image = None
            if image is None:
                image = Image(store, name)
        try:
            check_host(name, image.meta, self.installed_kernel())
        except QuarkError:
            if name not in self.images:
                image.close()
            raise
        self.images.pop(name, None)
        self.images[name] = image  # last: most recently used
        used = {c.image for c in self.clones.values()}
        spare = [n for n, i in self.images.items() if i not in used and i is not image and n not in self.pinned]
        for old in spare[:-KEEP_IMAGES]:
            self.let_go(self.images[old])
        return image

    def store(self) -> Store:
        """The domain, opened for one piece of work. A key that cannot be had is that work's error, and asked for again by the next."""
        if self.key is None:
            self.key = load_key(self.key_source)
        return Store.open(Path(self.root), create=False, domain=self.domain, key=self.key)

    def installed_kernel(self) -> str:
        """Build id of the installed guest kernel, read again when the file has changed."""
        st = os.stat(kernel.PATH)
        stamp = (st.st_ino, st.st_mtime_ns)
        if stamp != self.kernel_stamp:
            self.kernel_id, self.kernel_stamp = kernel.build_id(kernel.load()), stamp
        return self.kernel_id

    def take_uffd(self, clone: Clone, fields: list[str], fds: list[int]) -> None:
        """`uffd BASE`: answer the faults of this userfaultfd; BASE is the address of guest frame 0."""
        if clone.image is None or clone.uffd >= 0 or os.readlink(f"/proc/self/fd/{fds[0]}") != USERFAULTFD:
            raise ValueError("one userfaultfd, after attach")
        base, uffd = int(fields[0]), os.dup(fds[0])
        os.set_blocking(uffd, False)
        try:
            self.selector.register(uffd, selectors.EVENT_READ, lambda _: self.fault(clone))
        except BaseException:
            os.close(uffd)
            raise
        clone.uffd, clone.base = uffd, base

    def take_working_set(self, clone: Clone, fields: list[str], fds: list[int]) -> None:
        """`working-set BYTES`: keep it with the snapshot, unless it has one."""
        if clone.image is None or clone.image.working_set:
            return
        blob = read_blob(fds[0], fields[0], WORKING_SET_RUNS * RUN.size)
        if not is_working_set(blob, clone.image.meta.ram_bytes // PAGE):
            raise CorruptBlobError("the working set that a clone sent is malformed")
        # Deleted meanwhile; or there is no room for it, and the next clone has it from memory all the same.
        with self.store() as store, contextlib.suppress(SnapshotUnknownError, DiskFullError):
            if store.get(clone.image.name).id == clone.image.id:  # else it was replaced by another of that name
                store.set_working_set(clone.image.name, blob)
        clone.image.set_working_set(blob)

    def take_files(self, clone: Clone, fields: list[str], fds: list[int]) -> None:
        """`files BYTES`: the table of files, as this clone found them on this host."""
        if clone.image is not None:
            clone.image.set_files(read_blob(fds[0], fields[0], len(clone.image.files)))

    def hand_over(self, clone: Clone, _fields: list[str], _fds: list[int]) -> None:
        """`guest`: from now on a QVisor speaks here, of its own clone alone. What others believe, as the table of files, is not for it to say."""
        clone.guest = True

    def contents(self, clone: Clone, _fields: list[str], _fds: list[int]) -> None:
        """`contents`: answer with `ok` and a read-only descriptor of the contents of files that the snapshot contains."""
        if clone.image is None:
            raise ValueError("contents before attach")
        with self.store() as store:
            fd = os.open(f"/proc/self/fd/{clone.image.contents_fd(store)}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.answer(clone, ["ok"], (fd,))
        finally:
            os.close(fd)

    def prefetch(self, clone: Clone, _fields: list[str], _fds: list[int]) -> None:
        """`prefetch`: bring in the working set; `ok` says that it is there."""
        if clone not in self.waiting:
            self.waiting.append(clone)

    def stats(self, clone: Clone, _fields: list[str], _fds: list[int]) -> None:
        """`stats`: faults answered for this clone, pages brought in by them."""
        self.answer(clone, [str(clone.faults), str(clone.pages)])

    def warm(self, clone: Clone, fields: list[str], _fds: list[int]) -> None:
        """`warm NAME`: open the image and keep it; `ok complete|partial BYTES` says how far the background work is."""
        image = self.image(fields[0])
        self.pinned.add(fields[0])
        state = "complete" if image.complete else "partial"
        self.answer(clone, ["ok", state, str(image.pages_filled * PAGE)])

    def cool(self, clone: Clone, fields: list[str], _fds: list[int]) -> None:
        """`cool NAME`: let go of the image, at once when no clone uses it."""
        self.pinned.discard(fields[0])
        if fields[0] in self.images:
            self.let_go(self.images[fields[0]])
        self.answer(clone, ["ok"])

    def prune(self, clone: Clone, _fields: list[str], _fds: list[int]) -> None:
        """`prune`: let go of the images of deleted snapshots, so that a collection gives their space back."""
        with self.store() as store:
            live = {info.id for info in store.list()}
        for image in [i for i in self.images.values() if i.id not in live]:
            self.pinned.discard(image.name)
            self.let_go(image)
        self.answer(clone, ["ok"])

    def totals(self, clone: Clone, _fields: list[str], _fds: list[int]) -> None:
        """`totals`: images open, pages in them, faults answered since the start."""
        images = [*self.images.values(), *self.old]
        pages = sum(i.pages_filled for i in images)
        self.answer(clone, ["ok", str(len(images)), str(pages), str(self.faults)])

    def fault(self, clone: Clone) -> None:
        """Bring in what a clone waits for, and wake it."""
        n = lib.qp_read_faults(clone.uffd, self.addresses, FAULT_BATCH)
        for i in range(max(n, 0)):
            address = self.addresses[i]
            gfn = (address - clone.base) // PAGE
            clone.faults += 1
            self.faults += 1
            image = clone.image
            if image is None or not 0 <= gfn < image.meta.ram_bytes // PAGE:
                print(f"pager: dropped a clone: it asks for frame {gfn}", file=sys.stderr, flush=True)
                self.drop(clone)
                return
            clone.pages += self.work_on(image, lambda image, gfn=gfn: image.need(gfn))  # type: ignore[misc]
            if clone.uffd < 0:
                return  # dropped: its image is damaged
            lib.qp_wake(clone.uffd, address, PAGE)

    def drop(self, clone: Clone) -> None:
        """Forget a clone that ended; one that was forgotten already is as good."""
        if self.clones.get(clone.sock.fileno()) is not clone:
            return
        if clone in self.waiting:
            self.waiting.remove(clone)
        self.selector.unregister(clone.sock)
        del self.clones[clone.sock.fileno()]
        clone.sock.close()
        if clone.uffd >= 0:
            self.selector.unregister(clone.uffd)
            os.close(clone.uffd)
            clone.uffd = -1
        if clone.image in self.old:
            self.let_go(clone.image)


def read_blob(fd: int, size: str, most: int) -> bytes:
    """What a clone sent as a memfd, of which it says how many bytes it has.

    Raises:
        CorruptBlobError: it has not, or more than `most`.
    """
    wanted = int(size)
    try:
        fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise CorruptBlobError("what a clone sent is no memory") from None  # a file may not answer
    blob = os.pread(fd, wanted, 0) if 0 <= wanted <= most else b""
    if len(blob) != wanted:
        raise CorruptBlobError(f"a clone sent {len(blob)} bytes, not {wanted}")
    return blob


def be_nobodys_child() -> None:
    """Let go of what whoever started this process was limited to: the pager serves the clones of others, too.

    A hard limit that is not ours to raise stays (setrlimit(2)).
    """
    os.chdir("/")
    os.umask(0o077)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    # Descriptors have a limit of their own (fs.nr_open); two for each clone.
    for name in {n for n in dir(resource) if n.startswith("RLIMIT_")} - {"RLIMIT_NOFILE", "RLIMIT_CORE"}:
        _, most = resource.getrlimit(getattr(resource, name))
        for limit in (resource.RLIM_INFINITY, most):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(getattr(resource, name), (limit, limit))
                break
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # guests' memory


def take(lock: int, root: str, domain: str) -> bool:
    """Become the domain's pager. False: there is one, and it answers. One that is just ending is waited for: it takes no clones any more."""
    deadline = time.monotonic() + client.START_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sock = client.find(root, domain)
            if sock >= 0:
                os.close(sock)
                return False
            if time.monotonic() > deadline:
                return False
            time.sleep(LOCK_POLL)
        else:
            return True


def serve(root: str, domain: str, key: str, *, idle: float = IDLE_SECONDS, fill: bool = True) -> int:
    """Bind the socket of a domain and serve; returns at once when another pager is there."""
    where = wire.directory(root, domain)
    os.makedirs(where, mode=0o700, exist_ok=True)
    be_nobodys_child()
    lock = os.open(os.path.join(where, "pager.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not take(lock, root, domain):
        return 0
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path, directory = wire.address(root, domain)
    if os.path.lexists(path):
        os.unlink(path)  # left by a pager that was killed: the lock is ours
    old = os.umask(0o177)
    listener.bind(path)
    os.umask(old)
    listener.listen(128)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        Pager(root, domain, key, listener, idle=idle, fill=fill).run()
    finally:
        os.unlink(path)
        os.close(directory)
    return 0


def main(argv: list[str]) -> int:
    """Entry point of the process."""

    def option(name: str, default: str) -> str:
        return argv[argv.index(name) + 1] if name in argv else default

    idle = float(option("--idle", str(IDLE_SECONDS)))
    key, fill = option("--key", ""), "--no-fill" not in argv
    return serve(argv[0], option("--domain", "default"), key, idle=idle, fill=fill)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
