"""What a stored snapshot depends on, whether this host has it, and exports that bring it along."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from quark.errors import PathDeniedError, RootfsError, VolumeError
from qvisor._native import lib
from qvisor.spec import SandboxSpec, check_beneath, check_files, identity, open_rootfs, open_volume
from snapshotd.digests import Digests
from snapshotd.files import (
    CHANGED,
    FIRST_GFN,
    KEPT,
    LOST,
    MISSING,
    NOT_GIVEN,
    OK,
    File,
    contents,
    end,
    examine,
    handles,
    plan,
    refuse,
)
from snapshotd.metadata import Metadata
from snapshotd.store.exporting import Appendix

if TYPE_CHECKING:
    from typing import BinaryIO

    from snapshotd.store import Store


class Dependency(NamedTuple):
    """A file that a snapshot depends on.

    Attributes:
        path: in the guest.
        state: one of snapshotd.files: "ok", "from the store" (the host lacks it), "changed", "missing" (these refuse a clone), "changed before
            the capture" (what the guest had not read by then it cannot read any more), "to be given" (of a volume that is the clone's).
        size: of its content, bytes.
        contained: the snapshot contains it.
        volume: it is one of a volume, which only has to be there.
    """

    path: str
    state: str
    size: int
    contained: bool
    volume: bool

    @property
    def satisfied(self) -> bool:
        """Whether a clone can run on this host, as far as this file goes."""
        return self.state not in {CHANGED, MISSING}


def _hidden(store: Store) -> tuple[int, int]:
    """What no guest sees into."""
    return identity(os.path.dirname(os.path.dirname(store.directory)))


def _rootfs(rootfs: str, paths: tuple[str, ...] | None, hidden: tuple[int, int]) -> int:
    """Descriptor, or -1 if there is none."""
    try:
        fd = open_rootfs(rootfs)
    except RootfsError:
        return -1
    try:
        check_beneath(fd, paths)
        check_files(fd, hidden)
    except PathDeniedError:
        os.close(fd)
        raise
    return fd


def _believed(store: Store, name: str, spec: SandboxSpec) -> SandboxSpec:
    """What of the host a snapshot has by itself: an imported one nothing but the root that everybody has."""
    if store.is_imported(name):
        spec.rootfs = "/" if spec.rootfs == "/" else ""
        for volume in spec.volumes:
            volume.source = ""
    return spec


def check(store: Store, name: str, paths: tuple[str, ...] | None = None) -> list[Dependency]:
    """All files that snapshot `name` depends on, by path; `paths` as for a sandbox.

    Raises:
        SnapshotUnknownError: there is none of that name.
        PathDeniedError: its files are outside of `paths`.
    """
    meta = Metadata.load(store.get(name).meta)
    spec = _believed(store, name, SandboxSpec.from_dict(meta.spec))
    files = [File.from_json(f) for f in meta.files]
    hidden = _hidden(store)
    root = _rootfs(spec.rootfs, paths, hidden)
    try:
        with Digests(store.directory) as digests:
            states = examine(root, hidden, files, digests)
    finally:
        if root >= 0:
            os.close(root)
    found = [
        Dependency(f.path, state, f.size, bool(f.flags & KEPT), volume=False)
        for f, state in zip(files, states, strict=True)
    ]
    for _, root, name_in_root, numbers in handles(meta.recipes):
        if root:
            found.append(_of_volume(spec, root, name_in_root, numbers[2], paths, hidden))
    return sorted(set(found))


def _of_volume(
    spec: SandboxSpec, number: int, name: bytes, size: int, paths: tuple[str, ...] | None, hidden: tuple[int, int]
) -> Dependency:
    volume = spec.volumes[number - 1]
    path = f"{volume.target}/{os.fsdecode(name)}".rstrip("/")
    if not volume.source:
        return Dependency(path, NOT_GIVEN, size, contained=False, volume=True)
    state = MISSING
    try:
        root, single = open_volume(volume)
    except VolumeError:
        root = -1
    if root >= 0:
        try:
            check_beneath(root, paths)
            check_files(root, hidden)
            fd = root if single else lib.qv_file_open(root, *hidden, name)
            if fd >= 0:
                state = OK
                if fd != root:
                    os.close(fd)
        finally:
            os.close(root)
    return Dependency(path, state, size, contained=False, volume=True)


def export(store: Store, name: str, file: BinaryIO, paths: tuple[str, ...] | None = None) -> None:
    """Write snapshot `name` with its chain and the content of the files that it depends on; `paths` as for a sandbox.

    Raises:
        SnapshotFilesError: files are missing or have changed, and the snapshot does not contain them.
        StoreError: see Store.export.
    """
    info = store.get(name)
    meta = Metadata.load(info.meta)
    files = [File.from_json(f) for f in meta.files]
    lacking = [f for f in files if not f.flags & (KEPT | LOST)]
    if not lacking:
        store.export(name, file)
        return
    hidden = _hidden(store)
    root = _rootfs(_believed(store, name, SandboxSpec.from_dict(meta.spec)).rootfs, paths, hidden)
    try:
        with Digests(store.directory) as digests:
            states = examine(root, hidden, lacking, digests)
        problems = [(f.path, s) for f, s in zip(lacking, states, strict=True) if s != OK]
        if problems:
            raise refuse(name, problems)
        new, _ = plan(files, max(FIRST_GFN, info.frames))
        document = replace(meta, files=[f.to_json() for f in files]).dump()
        pages = contents(new, lambda f: int(lib.qv_file_open(root, *hidden, f.name)))
        store.export(name, file, Appendix(info.id, document, max(info.frames, end(files)), pages))
    finally:
        if root >= 0:
            os.close(root)
