"""What a sandbox is asked to be: program, environment, file systems, memory."""

from __future__ import annotations

import errno
import os
import stat

from quark.errors import MemorySizeError, PathDeniedError, RootfsError, UsageError, VolumeError
from quark.sizes import MEMORY_DEFAULT, Volume, is_slot_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOUNTS_MAX = 32
PATH_MAX, NAME_MAX, HOSTNAME_MAX = 4096, 255, 64  # linux/limits.h, uname(2)
NAME_SHOWN = 80  # of a path in a message
# What the guest kernel has mounted before the volumes (qkernel/fs/mount.c). Below the trees no name can be made.
KERNEL_TREES = ("/proc", "/sys", "/dev/pts")
KERNEL_PLACES = {"/", "/dev", "/dev/shm", *KERNEL_TREES}  # noqa: S108 - of the guest

RESEED = "/dev/quark-reseed.so"  # qkernel/reseed: the guest kernel shows it there


class Changes:
    """What a clone has otherwise than its snapshot: `memory` and `disk` in bytes, 0: the same; `rootfs`, "": the same.

    Of `volumes` those with a slot fill it, and others take the place of the snapshot's at the same target. With `host_paths` an imported snapshot may have
    what it names.
    """

    __slots__ = ("cwd", "disk", "host_paths", "memory", "rootfs", "volumes")

    def __init__(
        self,
        cwd: str = "",
        memory: int = 0,
        volumes: tuple[Volume, ...] = (),
        disk: int = 0,
        rootfs: str = "",
        *,
        host_paths: bool = False,
    ) -> None:
        self.cwd = cwd
        self.memory = memory
        self.volumes = volumes
        self.disk = disk
        self.rootfs = rootfs
        self.host_paths = host_paths

    def to_strings(self) -> list[str]:
        """As a flat list."""
        out = [self.cwd, str(self.memory), str(self.disk), self.rootfs, str(int(self.host_paths))]
        return [*out, *(text for v in self.volumes for text in v.to_strings())]

    @staticmethod
    def from_strings(strings: list[str]) -> Changes:
        """Reverse `to_strings`."""
        cwd, memory, disk, rootfs, host_paths = strings[:5]
        volumes = tuple(Volume.from_strings(strings[5:]))
        return Changes(cwd, int(memory), volumes, int(disk), rootfs, host_paths=host_paths == "1")

    def apply(self, spec: SandboxSpec, name: str, ram_bytes: int, *, imported: bool = False) -> None:
        """Make `spec`, that of snapshot `name` with so much RAM in it, the clone's. What an `imported` one has of this host is not for itself to say.

        Raises:
            MemorySizeError: the clone would have less memory than the snapshot has already.
            VolumeError: there is no such slot or volume, it is given twice, or one that has to be filled is not.
            PathDeniedError: it names a path of this host that nobody gave it.
        """
        if imported and not self.host_paths:
            self._refuse_named(spec, name)
        if self.memory:
            if self.memory < ram_bytes:
                raise MemorySizeError(
                    f"memory size {self.memory >> 20}M is less than what snapshot {name!r} has already; a clone of it has {ram_bytes >> 20}M or more"
                )
            spec.memory = self.memory
        if self.disk:
            spec.disk = self.disk
        if self.rootfs:
            spec.rootfs = self.rootfs
        self._fill_slots(spec, name)
        self._replace(spec, name)

    def _refuse_named(self, spec: SandboxSpec, name: str) -> None:
        given = {v.target for v in self.volumes if not v.slot} | {
            v.target for v in spec.volumes if v.slot in {g.slot for g in self.volumes if g.slot}
        }
        advice = "or allow what it names with --host-paths"
        if spec.rootfs != "/" and not self.rootfs:  # that is what any sandbox has whose caller names none
            raise PathDeniedError(
                f"snapshot {name!r} was imported and would have {spec.rootfs[:NAME_SHOWN]} of this host as its root; give --rootfs DIR, {advice}"
            )
        for v in spec.volumes:
            if v.source and v.target not in given:
                raise PathDeniedError(
                    f"snapshot {name!r} was imported and would have {v.source[:NAME_SHOWN]} of this host; "
                    f"give -v HOSTDIR:{v.target[:NAME_SHOWN]}, {advice}"
                )

    def _replace(self, spec: SandboxSpec, name: str) -> None:
        """Other places of the host for volumes of the snapshot."""
        wanted = [v for v in self.volumes if not v.slot]
        given = {v.target: v for v in wanted}
        if len(given) < len(wanted):
            raise VolumeError("a volume is given twice; give each -v HOSTDIR:GUESTDIR once")
        fixed = {v.target: v for v in spec.volumes if not v.slot}
        for target, volume in given.items():
            if target not in fixed:
                known = ", ".join(fixed) or "none"
                raise VolumeError(
                    f"snapshot {name!r} has no volume at {target[:NAME_SHOWN]}; its volumes are {known}, and a clone has these"
                )
            fixed[target].source = volume.source
            fixed[target].read_only |= volume.read_only

    def _fill_slots(self, spec: SandboxSpec, name: str) -> None:
        filling = [v for v in self.volumes if v.slot]
        fill = {v.slot: v for v in filling}
        if len(fill) < len(filling):
            raise VolumeError("a volume slot is filled twice; give each -v SLOT=HOSTDIR once")
        slots = [v for v in spec.volumes if v.slot]
        for slot in fill:
            if slot not in {v.slot for v in slots}:
                known = ", ".join(v.slot for v in slots) or "none: declare them with `snapshot create --volume-slot`"
                raise VolumeError(f"snapshot {name!r} has no volume slot {slot!r}; its slots are {known}")
        for v in slots:
            filled = fill.get(v.slot)
            if filled is not None:
                v.source, v.read_only = filled.source, v.read_only or filled.read_only
            elif not v.source and not v.optional:
                raise VolumeError(
                    f"volume slot {v.slot!r} ({v.target}) of snapshot {name!r} is not filled; give -v {v.slot}=HOSTDIR"
                )


class SandboxSpec:
    """A cold sandbox. `memory` in bytes, a limit: RAM is taken in 64 MiB slots as it is used. `disk`: bytes that files in it may hold, 0: half of it.

    (A plain class: importing dataclasses would be a third of a clone's start.)
    """

    __slots__ = (
        "argv",
        "cwd",
        "disk",
        "env",
        "gid",
        "hostname",
        "ignored_signals",
        "memory",
        "reseed",
        "ring",
        "rootfs",
        "uid",
        "volumes",
    )

    def __init__(
        self,
        argv: tuple[str, ...],
        *,
        env: dict[str, str] | None = None,
        cwd: str = "/",
        rootfs: str = "/",
        volumes: tuple[Volume, ...] = (),
        memory: int = MEMORY_DEFAULT,
        ring: str = "auto",
        hostname: str = "quark",
        uid: int = 0,
        gid: int = 0,
        ignored_signals: int = 0,
        disk: int = 0,
        reseed: bool = False,
    ) -> None:
        self.argv = argv
        self.env = env or {}
        self.cwd = cwd
        self.rootfs = rootfs
        self.volumes = volumes
        self.memory = memory
        self.ring = ring
        self.hostname = hostname
        self.uid = uid
        self.gid = gid
        self.disk = disk
        self.reseed = reseed  # the program starts with the library RESEED preloaded; `env` stays what the caller gave
        self.ignored_signals = ignored_signals  # bit n-1: the program starts with signal n ignored

    def environment(self) -> dict[str, str]:
        """What the program starts with: `env`, and with `reseed` the library by which OpenSSL and others notice that they run in a clone."""
        wanted = self.env.get("LD_PRELOAD", "")
        if not self.reseed or RESEED in wanted.replace(":", " ").split():
            return self.env
        return {**self.env, "LD_PRELOAD": f"{wanted}:{RESEED}" if wanted else RESEED}

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, for a snapshot's metadata."""
        data = {k: getattr(self, k) for k in self.__slots__}
        data["argv"] = list(self.argv)
        data["volumes"] = [v.to_list() for v in self.volumes]
        return data

    def to_strings(self) -> list[str]:
        """As a flat list, for the layout that clones read."""
        out = [self.cwd, self.rootfs, str(self.memory), self.ring, self.hostname, str(self.uid), str(self.gid)]
        out += [
            str(self.ignored_signals),
            str(self.disk),
            str(int(self.reseed)),
            str(len(self.argv)),
            *self.argv,
            str(len(self.env)),
        ]
        for k, v in self.env.items():
            out += [k, v]
        for volume in self.volumes:
            out += volume.to_strings()
        return out

    @staticmethod
    def from_strings(strings: list[str]) -> SandboxSpec:
        """Reverse `to_strings`."""
        cwd, rootfs, memory, ring, hostname, uid, gid, ignored, disk, reseed, argc = strings[:11]
        rest = strings[11 + int(argc) :]
        envc = int(rest[0])
        pairs, volumes = rest[1 : 1 + 2 * envc], rest[1 + 2 * envc :]
        return SandboxSpec(
            tuple(strings[11 : 11 + int(argc)]),
            env=dict(zip(pairs[::2], pairs[1::2], strict=True)),
            cwd=cwd,
            rootfs=rootfs,
            volumes=tuple(Volume.from_strings(volumes)),
            memory=int(memory),
            ring=ring,
            hostname=hostname,
            uid=int(uid),
            gid=int(gid),
            ignored_signals=int(ignored),
            disk=int(disk),
            reseed=reseed == "1",
        )

    @staticmethod
    def from_dict(data: dict[str, Any]) -> SandboxSpec:
        """Reverse `to_dict`."""
        fields = dict(data)
        volumes = tuple(Volume(*v) for v in fields.pop("volumes"))
        argv = tuple(fields.pop("argv"))
        return SandboxSpec(argv, volumes=volumes, **fields)


def parse_volume(text: str) -> Volume:
    """Read `HOST:GUEST[:ro|:rw]`.

    Raises:
        UsageError: malformed.
    """
    parts = text.split(":")
    if (
        len(parts) not in {2, 3}
        or not parts[0]
        or not parts[1].startswith("/")
        or (len(parts) == 3 and parts[2] not in {"ro", "rw"})
    ):
        raise UsageError(f"volume {text!r} is not HOSTPATH:/GUESTPATH[:ro]")
    return Volume(os.path.abspath(parts[0]), parts[1], len(parts) == 3 and parts[2] == "ro")


def check(spec: SandboxSpec) -> None:
    """Check what a cold sandbox cannot start with.

    Raises:
        UsageError: the ring mode, the working directory or the host name.
        VolumeError: where a volume should be in the guest.
    """
    from qvisor.host import check_ring

    check_ring(spec.ring)
    if len(os.fsencode(spec.hostname)) > HOSTNAME_MAX:
        raise UsageError(f"host name {spec.hostname[:HOSTNAME_MAX]!r}...: has more than {HOSTNAME_MAX} bytes")
    if len(os.fsencode(spec.cwd)) >= PATH_MAX:
        raise UsageError(f"working directory {spec.cwd[:NAME_SHOWN]!r}...: has {PATH_MAX} bytes or more")
    places = set()
    for volume in spec.volumes:
        names = os.fsencode(volume.target).split(b"/")
        if not volume.target.startswith("/") or not {".", ".."}.isdisjoint(volume.target.split("/")):
            raise VolumeError(
                f"volume target {volume.target[:NAME_SHOWN]!r}: give an absolute path without `..` and `.`"
            )
        if sum(map(len, names)) + len(names) > PATH_MAX or any(len(name) > NAME_MAX for name in names):
            raise VolumeError(
                f"volume target {volume.target[:NAME_SHOWN]!r}...: a path has less than {PATH_MAX} bytes, a name in it at most {NAME_MAX}"
            )
        place = "/" + "/".join(filter(None, volume.target.split("/")))
        if place in KERNEL_PLACES or place.startswith(tuple(f"{at}/" for at in KERNEL_TREES)):
            raise VolumeError(f"volume target {place[:NAME_SHOWN]!r} is the guest kernel's; give another place")
        if place in places:
            raise VolumeError(f"volume target {place[:NAME_SHOWN]!r} is given twice; a volume takes a place of its own")
        places.add(place)


def parse_clone_volume(text: str) -> Volume:
    """Read `SLOT=HOSTDIR[:ro]`, which fills a slot of a clone, or `HOST:GUEST[:ro]`, which takes the place of its snapshot's volume there.

    Raises:
        UsageError: malformed.
    """
    name, _, rest = text.partition("=")
    source, _, flag = rest.partition(":")
    if is_slot_name(name) and source and flag in {"", "ro", "rw"}:
        return Volume(os.path.abspath(source), "", flag == "ro", name)
    try:
        return parse_volume(text)
    except UsageError:
        raise UsageError(
            f"volume {text!r} is not SLOT=HOSTDIR[:ro] or HOSTPATH:/GUESTPATH[:ro]: a clone has the volumes of its snapshot, and fills its slots"
        ) from None


def shown(path: str) -> str:
    """A path for a message of one line."""
    return path if path.isprintable() else ascii(path)


def open_rootfs(path: str) -> int:
    """O_PATH descriptor of the root directory.

    Raises:
        RootfsError: missing or not a directory.
    """
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise RootfsError(
            f"root file system {shown(path)}: {e.strerror}; give an existing directory with --rootfs"
        ) from e


def open_volume(volume: Volume) -> tuple[int, bool]:
    """O_PATH descriptor of the source, and whether it is a single file.

    Raises:
        VolumeError: missing, or neither a directory nor a regular file; for a slot: no directory.
    """
    if not volume.source:
        return open_empty(), False
    try:
        fd = os.open(volume.source, os.O_PATH | os.O_CLOEXEC)
    except OSError as e:
        raise VolumeError(f"volume {shown(volume.source)}: {e.strerror}; the host path of -v must exist") from e
    mode = os.fstat(fd).st_mode
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        os.close(fd)
        raise VolumeError(f"volume {shown(volume.source)} is neither a directory nor a regular file")
    if volume.slot and not stat.S_ISDIR(mode):
        os.close(fd)
        raise VolumeError(f"volume {shown(volume.source)} is a file; slot {volume.slot!r} takes a directory")
    return fd, stat.S_ISREG(mode)


def identity(path: str) -> tuple[int, int]:
    """Device and inode number of a directory; (0, 0) when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def check_files(fd: int, state: tuple[int, int]) -> None:
    """Check that what was opened for a guest is files of the host: nothing of its kernel, and nothing of quark's own state directory.

    Raises:
        PathDeniedError: it is.
        VolumeError: a single file is gone again.
    """
    from qvisor._native import lib

    path = os.readlink(f"/proc/self/fd/{fd}")
    name = shown(path)
    result = lib.qv_check_root(fd, *state)
    if result == 0 and stat.S_ISREG(os.fstat(fd).st_mode):
        try:
            directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as e:
            raise VolumeError(f"volume {name}: {e.strerror}; the host path of -v must exist") from e
        result = lib.qv_check_root(directory, *state)
        os.close(directory)
    if result == -errno.EOPNOTSUPP:
        raise PathDeniedError(f"{name} is an interface of the host's kernel and no place of files; give another one")
    if result == -errno.EBUSY:
        raise PathDeniedError(f"{name} is in the state directory of quark, which no sandbox sees; give another one")
    if result:
        raise PathDeniedError(f"{name}: {os.strerror(-result)}")


def open_empty() -> int:
    """O_PATH descriptor of a directory that has nothing in it, never will, and has no name."""
    import tempfile

    path = tempfile.mkdtemp(prefix="quark-slot-")
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.rmdir(path)


def check_beneath(fd: int, paths: tuple[str, ...] | None) -> None:
    """Check that what was opened (not the name, which may lead elsewhere meanwhile) is in one of the directories `paths`.

    Raises:
        PathDeniedError: it is not.
    """
    if paths is None:
        return
    path = os.readlink(f"/proc/self/fd/{fd}")
    if not any(p in ("/", path) or path.startswith(p + "/") for p in paths):
        raise PathDeniedError(
            f"{shown(path)} is outside the directories that this domain may use; ask who runs the daemon to list it in `paths`"
        )
