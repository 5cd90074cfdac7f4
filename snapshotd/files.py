"""The files of the rootfs that a snapshot depends on: those that its guest has open, mapped, or partly in memory. Their content is what counts.

A capture records of each its digest, what the guest knows of it, and which file of the host has that content (struct qv_file of
qvisor/native/qvisor_api.h). A restore accepts that file for the price of one stat. When it is not there any more, `resolve` looks whether the one
at its path has the same content, or whether the store has it; if neither, the snapshot is refused before its first instruction.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct

from quark.errors import CaptureError, SnapshotFilesError
from qvisor._native import lib
from snapshotd.digests import PIECE, Digests, FileChangedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from qvisor.spec import SandboxSpec

PAGE = 4096
FIRST_GFN = 1 << 24
"""Frames of a snapshot from here on hold contents of files: beyond all memory that a guest can have (docs/store-format.md)."""

STORED, LOST, KEPT = lib.QV_FILE_STORED, lib.QV_FILE_LOST, lib.QV_FILE_KEPT
OK, FROM_STORE, CHANGED, MISSING, CHANGED_BEFORE = (
    "ok",
    "from the store",
    "changed",
    "missing",
    "changed before the capture",
)
NOT_GIVEN = "to be given"  # of a volume that whoever runs a clone has to give
HANDLES_MAX = 1 << 16  # QV_MAX_HANDLES
SHOWN = 5  # files that the text of an error names
TOLD = 20  # files that it has with it; `snapshot check` lists all

_HEAD = struct.Struct("<II")
_FILE = struct.Struct("<QQqqQQqqQIIIIII32s")  # struct qv_file
_RECIPE = struct.Struct(
    "<IIiIIIQQQQQIIIIqqq"
)  # struct recipe of recipes.c: index, root, flags, writable, name bytes, 0, struct qk_stat
_FIELDS = (
    "dev", "ino", "mtime_ns", "ctime_ns", "size", "guest_ino", "guest_mtime_ns", "guest_ctime_ns", "stored", "flags", "mode", "uid", "gid",
)  # fmt: skip


class File:
    """One dependency. The fields are those of struct qv_file; `name` is its path without the first slash, `sha256` b"" if it is LOST."""

    __slots__ = (*_FIELDS, "name", "sha256")
    dev: int
    ino: int
    mtime_ns: int
    ctime_ns: int
    size: int
    guest_ino: int
    guest_mtime_ns: int
    guest_ctime_ns: int
    stored: int
    flags: int
    mode: int
    uid: int
    gid: int

    def __init__(self, name: bytes, sha256: bytes, numbers: Iterable[int]) -> None:
        self.name = name
        self.sha256 = sha256
        for field, number in zip(_FIELDS, numbers, strict=True):
            setattr(self, field, number)

    @property
    def path(self) -> str:
        """In the rootfs."""
        return "/" + os.fsdecode(self.name)

    @property
    def pages(self) -> int:
        """That its content has."""
        return -(-self.size // PAGE)

    def is_on(self, st: os.stat_result) -> None:
        """Note which file of this host has the content."""
        self.dev, self.ino, self.mtime_ns, self.ctime_ns = st.st_dev, st.st_ino, st.st_mtime_ns, st.st_ctime_ns
        self.flags &= ~STORED

    def to_json(self) -> list[Any]:
        """For a snapshot's document."""
        return [os.fsdecode(self.name), self.sha256.hex(), *(getattr(self, field) for field in _FIELDS)]

    @staticmethod
    def from_json(values: list[Any]) -> File:
        """Reverse `to_json`."""
        return File(os.fsencode(values[0]), bytes.fromhex(values[1]), values[2:])


def pack(files: list[File]) -> bytes:
    """The table that the machine reads (depends.c)."""
    files = sorted(files, key=lambda f: f.name)
    head, names = [_HEAD.pack(len(files), 0)], []
    at = _HEAD.size + len(files) * _FILE.size
    for f in files:
        head.append(_FILE.pack(*(getattr(f, field) for field in _FIELDS), at, 0, f.sha256.ljust(32, b"\0")))
        names.append(f.name + b"\0")
        at += len(names[-1])
    return b"".join(head + names)


def unpack(table: bytes) -> list[File]:
    """Reverse `pack`."""
    count, _ = _HEAD.unpack_from(table)
    found = []
    for *numbers, name, _, sha256 in _FILE.iter_unpack(table[_HEAD.size : _HEAD.size + count * _FILE.size]):
        end = table.index(b"\0", name)
        f = File(table[name:end], sha256, numbers)
        f.sha256 = b"" if f.flags & LOST else sha256
        found.append(f)
    return found


def are_possible(recipes: bytes, read_only: list[bool]) -> bool:
    """Whether a guest whose roots, the rootfs first, are `read_only` could have had these files open: what recipes.c and qfile.c let one have."""
    at, seen = 0, set[int]()
    while at < len(recipes):
        if len(recipes) - at < _RECIPE.size:
            return False
        index, root, flags, writable, length, _, *_ = _RECIPE.unpack_from(recipes, at)
        at += _RECIPE.size
        writes = (flags & os.O_ACCMODE) != os.O_RDONLY
        name = recipes[at : at + length]
        good = (
            len(name) == length
            and b"\0" not in name
            and 3 <= index < HANDLES_MAX
            and index not in seen
            and root < len(read_only)
            and not flags & ~(os.O_ACCMODE | os.O_DIRECTORY)
            and flags & os.O_ACCMODE != os.O_ACCMODE
            and writable == int(writes)
            and not (writes and read_only[root])
        )
        if not good:
            return False
        seen.add(index)
        at += length
    return True


def handles(recipes: bytes) -> Iterator[tuple[int, int, bytes, tuple[int, ...]]]:
    """(index, root, name, the numbers of struct qk_stat) of every regular file in what qv_recipes_save wrote."""
    at = 0
    while at < len(recipes):
        index, root, _flags, _writable, length, _, *identity = _RECIPE.unpack_from(recipes, at)
        at += _RECIPE.size
        if stat.S_ISREG(identity[5]):
            yield index, root, recipes[at : at + length], tuple(identity)
        at += length


def survey(
    handle: Callable[[int], int], recipes: bytes, known: list[File], digests: Digests, step: Callable[[], None]
) -> list[File]:
    """What a parked machine depends on; `handle` gives its descriptors (snapshotd.frozen.FrozenMachine). `known` are the dependencies of the snapshot that it is a clone of: these are looked at no more.

    Raises:
        CaptureError: a file cannot be read, or changes all the time.
    """
    found: dict[bytes, File] = {}
    earlier = {(f.name, f.guest_ino): f for f in known}
    for index, root, name, identity in handles(recipes):
        _dev, ino, size, _blocks, _rdev, mode, _nlink, uid, gid, _atime, mtime, ctime = identity
        if root or name in found:
            continue
        old = earlier.get((name, ino))
        if old is not None and (old.size, old.guest_mtime_ns) == (size, mtime):
            found[name] = old
            continue
        f = File(name, b"", (0, 0, 0, 0, size, ino, mtime, ctime, 0, 0, mode, uid, gid))
        fd = handle(index)
        try:
            if fd < 0:
                raise FileChangedError
            st = os.fstat(fd)
            if (st.st_size, st.st_mtime_ns) == (size, mtime):
                f.sha256, st = digests.of(fd, step)
                f.is_on(st)
            else:
                f.flags = LOST
        except FileChangedError:
            f.flags = LOST
        except OSError as e:
            raise CaptureError(f"{f.path}: {e.strerror}; the snapshot needs to know the content of this file") from e
        finally:
            if fd >= 0:
                os.close(fd)
        found[name] = f
    return list(found.values())


def plan(files: list[File], first: int) -> tuple[list[File], int]:
    """Give every file a place among the frames of a snapshot, new ones from `first` on, each content once; which are to be written, and where these end."""
    places = {f.sha256: f.stored for f in files if f.flags & KEPT}
    new = []
    gfn = first
    for f in files:
        if f.flags & (KEPT | LOST):
            continue
        if f.sha256 not in places:
            places[f.sha256] = (gfn - FIRST_GFN) * PAGE
            gfn += f.pages
            new.append(f)
        f.stored = places[f.sha256]
        f.flags |= KEPT
    return new, gfn


def end(files: list[File]) -> int:
    """The frame behind all contents; 0 if there are none."""
    return max((FIRST_GFN + f.stored // PAGE + f.pages for f in files if f.flags & KEPT), default=0)


def contents(files: list[File], opened: Callable[[File], int]) -> Iterator[tuple[int, memoryview]]:
    """(frame, whole pages) of planned files, ascending; `opened` gives a descriptor of a file (closed here), or a negative number.

    Raises:
        CaptureError: a file has changed since its digest was taken.
    """
    for f in files:
        fd = opened(f)
        if fd < 0:
            raise CaptureError(f"{f.path} cannot be read any more, and the snapshot has to contain it; try again")
        hasher = hashlib.sha256()
        first = FIRST_GFN + f.stored // PAGE
        try:
            for at in range(0, f.size, PIECE):
                data = os.pread(fd, min(PIECE, f.size - at), at)
                hasher.update(data)
                yield first + at // PAGE, memoryview(data.ljust(-(-len(data) // PAGE) * PAGE, b"\0"))
        finally:
            os.close(fd)
        if hasher.digest() != f.sha256:
            raise CaptureError(f"{f.path} changes while it is stored; try again")


def from_handles(handle: Callable[[int], int], recipes: bytes) -> Callable[[File], int]:
    """What opens the files of a machine for `contents`: as it has them."""
    by_name = {name: index for index, root, name, _ in handles(recipes) if root == 0}

    return lambda f: handle(by_name[f.name])


def examine(root: int, state: tuple[int, int], files: list[File], digests: Digests) -> list[str]:
    """Look for each file at its path beneath the directory `root`, as a guest that does not see into `state` (qvisor.spec.identity): OK (and the file says where), FROM_STORE, CHANGED, MISSING or CHANGED_BEFORE."""
    found = []
    for f in files:
        if f.flags & LOST:
            found.append(CHANGED_BEFORE)
            continue
        problem = MISSING
        fd = lib.qv_file_open(root, *state, f.name) if root >= 0 else -1
        if fd >= 0:
            problem = CHANGED
            try:
                if os.fstat(fd).st_size == f.size:
                    sha256, st = digests.of(fd)
                    if sha256 == f.sha256:
                        f.is_on(st)
                        problem = OK
            except (FileChangedError, OSError):
                pass
            finally:
                os.close(fd)
        if problem != OK and f.flags & KEPT:
            f.flags |= STORED
            problem = FROM_STORE
        found.append(problem)
    return found


def settle(
    name: str, table: bytes, root: int, state: tuple[int, int], directory: str, problems: list[tuple[str, str]]
) -> bytes:
    """The table of snapshot `name` for this host, whose rootfs is the directory `root`; digests are kept in `directory`.

    Raises:
        SnapshotFilesError: a file can be had neither here nor from the store, or there are `problems` already.
    """
    files = unpack(table)
    with Digests(directory) as digests:
        states = examine(root, state, files, digests)
    problems = problems + [(f.path, s) for f, s in zip(files, states, strict=True) if s in {CHANGED, MISSING}]
    if problems:
        raise refuse(name, problems)
    return pack(files)


def missing_from_volumes(spec: SandboxSpec, lost: bytes) -> list[tuple[str, str]]:
    """What qv_volumes_check wrote, as the guest's paths."""
    parts = lost.split(b"\0")
    return [
        (f"{spec.volumes[int(root) - 1].target}/{os.fsdecode(name)}".rstrip("/"), MISSING)
        for root, name in zip(parts[:-1:2], parts[1::2], strict=True)
    ]


def refuse(name: str, problems: list[tuple[str, str]]) -> SnapshotFilesError:
    """The error about (path, state) of the files that snapshot `name` lacks here."""
    text = ", ".join(f"{path} ({what})" for path, what in problems[:SHOWN])
    more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    files = "a file that is" if len(problems) == 1 else f"{len(problems)} files that are"
    error = SnapshotFilesError(
        f"snapshot {name!r} depends on {files} not as at its capture: {text}{more}; `quark snapshot check {name}` lists them; "
        "put them back, or create the snapshot with --self-contained"
    )
    error.files = problems[:TOLD]
    return error
