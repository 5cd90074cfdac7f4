"""Control groups of the host, which limit what a sandbox's process takes: version 2 where it has the controllers, else those of version 1.

Sources: cgroups(7), Linux Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/. Each sandbox has a group of its own in a directory `quark`: below the group that
was delegated to this process (systemd: Delegate=yes), else, for root, at the top of version 2's tree or below its own group of version 1. Nobody is left to remove
the group of a sandbox that a command became; `sweep` removes those that are empty, whenever the next group is made.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time

from quark.errors import LimitsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quark.sizes import Limits

DIRECTORY, MAIN, GROUP = "quark", "quark-main", "sandbox-"
CONTROLLERS = ("cpu", "memory", "pids", "io")
OLD_NAMES = {"io": "blkio"}  # in version 1
PERIOD_US = 100_000  # of the processor's quota: the kernel's own default
# What QVisor and the host's kernel need beside guest memory: 1.2 MiB, and 1.3 % of what is in use (page tables of the process and of KVM), measured on
# software KVM, where they are the largest. More than twice that.
MARGIN, MARGIN_SHARE = 16 << 20, 32
PIDS = 64  # processes and threads, where nobody says: QVisor has three threads, and a fork while it is captured; one that was taken over could go on forking


class Tree:
    """A directory in which groups are made, with the controllers that it has there."""

    __slots__ = ("controllers", "path", "unified")

    def __init__(self, path: str, controllers: Sequence[str], unified: bool) -> None:
        self.path = path
        self.controllers = controllers
        self.unified = unified

    def to_list(self) -> list[object]:
        """As JSON types; the constructor's arguments."""
        return [self.path, list(self.controllers), self.unified]


class Host:
    """What this process may limit: `trees`, and of each controller that it lacks, why."""

    __slots__ = ("missing", "trees")

    def __init__(self, why: str = "this host does not have it") -> None:
        self.trees: list[Tree] = []
        self.missing = dict.fromkeys(CONTROLLERS, why)

    def describe(self) -> str:
        """For people."""
        found = [
            f"version {2 if t.unified else 1}: {', '.join(t.controllers)} in {os.path.dirname(t.path)}"
            for t in self.trees
        ]
        return "; ".join(found) or "none"

    def need(self, limits: Limits) -> None:
        """Check that these limits can be had.

        Raises:
            LimitsError: one cannot.
        """
        for name, wanted in (("cpu", limits.cpus), ("pids", limits.pids), ("io", limits.io)):
            if wanted and name in self.missing:
                option = {"cpu": "--cpus"}.get(name, f"--{name}")
                raise LimitsError(
                    f"{option} needs the control group controller {name!r}: {self.missing[name]}; see `quark doctor`"
                )


def find() -> Host:
    """Look, and make the directories. A process in a delegated group of version 2 moves to one below it: groups have processes or subgroups there, not both."""
    host = Host()
    own: dict[str, str] = {}
    with open("/proc/self/cgroup") as lines:
        for line in lines:
            _, names, path = line.rstrip("\n").split(":", 2)
            own.update(dict.fromkeys(names.split(","), path))
    for mount, root, kind, options in _mounts():
        if kind == "cgroup2":
            _find_unified(host, mount, _below(mount, root, own.get("", "/")))
            continue
        wanted = [c for c in CONTROLLERS if c in host.missing and OLD_NAMES.get(c, c) in options]
        if wanted:
            path = os.path.join(_below(mount, root, own.get(OLD_NAMES.get(wanted[0], wanted[0]), "/")), DIRECTORY)
            _add(host, Tree(path, tuple(wanted), False))
    return host


def _mounts() -> list[tuple[str, str, str, list[str]]]:
    """(where, what of the tree, type, options) of the mounted trees, version 2 first (proc_pid_mountinfo(5))."""
    found = []
    with open("/proc/self/mountinfo") as lines:
        for line in lines:
            fields, _, rest = line.partition(" - ")
            kind, _, options = rest.split()[:3]
            if kind in {"cgroup", "cgroup2"}:
                found.append((fields.split()[4], fields.split()[3], kind, options.split(",")))
    return sorted(found, key=lambda m: m[2], reverse=True)


def _below(mount: str, root: str, own: str) -> str:
    """Where this process's group is."""
    inside = own[len(root) :] if root != "/" and own.startswith(root) else own if root == "/" else ""
    return os.path.normpath(mount + "/" + inside.strip("/"))


def _is_delegated(path: str) -> bool:
    """Whether this group is for its processes to divide: systemd says so, or its owner is this user."""
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(path, name) == b"1":
                return True
    return os.geteuid() != 0 and os.access(path, os.W_OK) and os.access(os.path.join(path, "cgroup.procs"), os.W_OK)


def _find_unified(host: Host, mount: str, own: str) -> None:
    moved = os.path.basename(own) == MAIN  # this process, or the one that it comes from
    base = os.path.dirname(own) if moved else own if _is_delegated(own) else mount
    path = os.path.join(base, DIRECTORY)
    with contextlib.suppress(OSError):
        available = _read(base, "cgroup.controllers").split()
        wanted = tuple(c for c in CONTROLLERS if c in available)
        if not wanted:
            return
        try:
            os.makedirs(path, exist_ok=True)
            if base == own:
                leaf = os.path.join(base, MAIN)
                os.makedirs(leaf, exist_ok=True)
                _write(leaf, "cgroup.procs", str(os.getpid()))
            for directory in (base, path):
                _write(directory, "cgroup.subtree_control", " ".join(f"+{c}" for c in wanted))
        except OSError as e:
            why = f"{e.filename or base}: {e.strerror}"
            if e.errno in {errno.EPERM, errno.EACCES, errno.EROFS}:
                why += "; run in a delegated group: systemd-run --user --scope -p Delegate=yes quark ..."
            elif e.errno == errno.EBUSY:
                why += "; its group has other processes, give quark one of its own"
            host.missing.update(dict.fromkeys(wanted, why))
        else:
            _add(host, Tree(path, wanted, True))


def _add(host: Host, tree: Tree) -> None:
    try:
        os.makedirs(tree.path, exist_ok=True)
        usable = os.access(tree.path, os.W_OK)
        why = f"{tree.path} may not be written"
    except OSError as e:
        usable, why = False, f"{tree.path}: {e.strerror}"
    if usable:
        host.trees.append(tree)
    for c in tree.controllers:
        if usable:
            del host.missing[c]
        else:
            host.missing[c] = why


def _read(directory: str, name: str) -> str:
    with open(os.path.join(directory, name)) as f:
        return f.read()


def _write(directory: str, name: str, text: str) -> None:
    fd = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


@contextlib.contextmanager
def _locked(paths: Sequence[str]) -> Iterator[None]:
    """Others of this host make and sweep groups, too."""
    fd = os.open(paths[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class Group:
    """The group of one sandbox, in each of the trees."""

    __slots__ = ("name", "trees")

    def __init__(self, trees: Sequence[Tree], name: str) -> None:
        self.trees = trees
        self.name = name

    def path(self, tree: Tree) -> str:
        """Its directory in a tree."""
        return os.path.join(tree.path, self.name)

    def limit(self, limits: Limits, memory: int, devices: Sequence[str]) -> None:
        """Set what its processes may take together; `memory` is the guest's, in bytes. `devices` ("MAJOR:MINOR") are those that `limits.io` is about.

        Raises:
            LimitsError: the kernel refuses one.
        """
        for tree in self.trees:
            for name, value in _settings(tree, limits, memory_limit(memory), devices):
                try:
                    _write(self.path(tree), name, value)
                except OSError as e:
                    raise LimitsError(f"{name} of {self.path(tree)} cannot be {value!r}: {e.strerror}") from e

    @property
    def limits_memory(self) -> bool:
        """Whether it can."""
        return any("memory" in tree.controllers for tree in self.trees)

    def limit_memory(self, size: int) -> None:
        """Set only that, in bytes; a limit that is not possible now stays what it was."""
        for tree in self.trees:
            if "memory" in tree.controllers:
                with contextlib.suppress(OSError):
                    _write(self.path(tree), "memory.max" if tree.unified else "memory.limit_in_bytes", str(size))

    def memory(self) -> int:
        """Bytes that count against its limit now."""
        for tree in self.trees:
            if "memory" in tree.controllers:
                with contextlib.suppress(OSError):
                    return int(_read(self.path(tree), "memory.current" if tree.unified else "memory.usage_in_bytes"))
        return 0

    def remove(self) -> None:
        """When its processes have ended; one that has some stays, for `sweep`."""
        for tree in self.trees:
            with contextlib.suppress(OSError):
                os.rmdir(self.path(tree))


def memory_limit(memory: int) -> int:
    """What a sandbox with so much guest memory may take of the host's, in bytes."""
    return memory + MARGIN + memory // MARGIN_SHARE


def limit_process(pid: int, limits: Limits, memory: int, roots: Sequence[int]) -> Group:
    """Put a process into a group of its own with these limits; `memory` is its guest's, in bytes, `roots` are the descriptors of its files.

    Raises:
        LimitsError: one of them cannot be had.
    """
    host = find()
    host.need(limits)
    devices = devices_of(roots) if limits.io else []
    sweep(host.trees)
    group = join(host.trees, pid)
    group.limit(limits, memory, devices)
    return group


def _settings(tree: Tree, limits: Limits, memory: int, devices: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(file, text) of all that is to be set."""
    quota = int(limits.cpus * PERIOD_US)
    if "cpu" in tree.controllers and quota:
        if tree.unified:
            yield "cpu.max", f"{quota} {PERIOD_US}"
        else:
            yield "cpu.cfs_period_us", str(PERIOD_US)
            yield "cpu.cfs_quota_us", str(quota)
    if "memory" in tree.controllers:
        yield "memory.max" if tree.unified else "memory.limit_in_bytes", str(memory)
    if "pids" in tree.controllers:
        yield "pids.max", str(limits.pids or PIDS)
    if "io" in tree.controllers and limits.io:
        for device in devices:
            if tree.unified:
                yield "io.max", f"{device} rbps={limits.io} wbps={limits.io}"
            else:
                yield "blkio.throttle.read_bps_device", f"{device} {limits.io}"
                yield "blkio.throttle.write_bps_device", f"{device} {limits.io}"


def join(trees: Sequence[Tree], pid: int) -> Group:
    """A new group with this process in it.

    Raises:
        LimitsError: it cannot be made.
    """
    group = Group(trees, f"{GROUP}{pid}-{time.monotonic_ns():x}")
    try:
        with _locked([t.path for t in trees]):
            for tree in trees:
                os.mkdir(group.path(tree))
                _write(group.path(tree), "cgroup.procs", str(pid))
    except OSError as e:
        group.remove()
        raise LimitsError(f"no control group for the sandbox: {e.filename or trees[0].path}: {e.strerror}") from e
    return group


def sweep(trees: Sequence[Tree]) -> int:
    """Remove groups of sandboxes that have ended; how many."""
    gone: set[str] = set()
    if not trees:
        return 0
    with contextlib.suppress(OSError), _locked([t.path for t in trees]):
        for tree in trees:
            for name in os.listdir(tree.path):
                if name.startswith(GROUP):
                    with contextlib.suppress(OSError):
                        os.rmdir(os.path.join(tree.path, name))
                        gone.add(name)
    return len(gone)


def devices_of(fds: Sequence[int]) -> list[str]:
    """The disks ("MAJOR:MINOR") that have the files behind these descriptors. Files in memory have none.

    Raises:
        LimitsError: a file system is on something else, whose input and output cannot be limited.
    """
    with open("/proc/self/mountinfo") as lines:
        in_memory = {line.split()[2] for line in lines if " - tmpfs " in line}
    found = set()
    for fd in fds:
        device = os.fstat(fd).st_dev
        name = f"{os.major(device)}:{os.minor(device)}"
        if name in in_memory:
            continue
        where = os.path.realpath(f"/sys/dev/block/{name}")
        if not os.path.isdir(where):
            raise LimitsError(f"--io: {os.readlink(f'/proc/self/fd/{fd}')} is on no disk of this host; leave --io out")
        if os.path.exists(os.path.join(where, "partition")):
            name = _read(os.path.dirname(where), "dev").strip()
        found.add(name)
    return sorted(found)
