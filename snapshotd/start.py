"""Gets sandboxes ready for the program QVisor: what needs the store, the pager or names of the host is done here."""

from __future__ import annotations

import os

from qvisor import confinement, kernel
from qvisor._native import ffi, lib
from qvisor.document import document, new_generation
from qvisor.machine import check, open_kvm
from qvisor.owner import choose
from qvisor.process import Start, prepare_message
from qvisor.roots import Roots
from qvisor.spec import Changes, SandboxSpec
from qvisor.spec import check as check_spec
from snapshotd.accept import Dependencies
from snapshotd.client import attach_whole
from snapshotd.layout import IMPORTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Self

    from quark.sizes import Limits
    from qvisor.process import Message


class Wanted:
    """What a request makes of a clone; `paths` and `stdio` as of `ready_cold`."""

    def __init__(
        self,
        args: list[str],
        env: dict[str, str],
        payload: str,
        changes: Changes,
        *,
        paths: tuple[str, ...] | None = None,
        stdio: tuple[int, ...] = (),
        debug: bool = False,
    ) -> None:
        self.args = args
        self.env = env
        self.payload = payload
        self.changes = changes
        self.paths = paths
        self.stdio = stdio
        self.debug = debug


class Prepared:
    """What snapshot `name` decides of its clones: the image, attached, and the message that says so to a QVisor."""

    def __init__(self, root: str, name: str, domain: str, key: str, *, populate: bool) -> None:
        self.root, self.name = root, name
        self.digests = os.path.join(root, "domains", domain)
        self.attachment = attach_whole(root, name, domain, key)
        self.message = prepare_message()
        try:
            self._read(populate=populate)
        except BaseException:
            self.attachment.close()
            raise

    def _read(self, *, populate: bool) -> None:
        layout = self.attachment.layout
        populate = populate and bool(layout.working_set)
        if populate and not self.attachment.complete:
            self.attachment.start_prefetch()
        ring, origin, *self._spec = layout.spec.decode("utf-8", "surrogateescape").split("\0")
        self.imported = origin == IMPORTED
        fields = self.message.fields
        fields.flags = lib.QM_CLONE | (lib.QM_POPULATE if populate else 0)
        fields.image = self.message.place(self.attachment.image_fd)
        fields.layout = self.message.place(self.attachment.layout_fd)
        fields.pager = self.message.place(self.attachment.sock)
        fields.ring = int(ring)

    def spec(self) -> SandboxSpec:
        """That of the snapshot, for one clone to change."""
        return SandboxSpec.from_strings(self._spec)

    def fill(self, *, ahead: bool = False) -> Message:
        """The message, as things are now; `ahead` of a request."""
        attachment, fields = self.attachment, self.message.fields
        fields.flags |= lib.QM_COMPLETE if attachment.complete else 0
        fields.flags |= lib.QM_PREFETCH if attachment.prefetching else 0
        fields.flags |= lib.QM_AHEAD if ahead else 0
        return self.message

    def close(self) -> None:
        """Let go of the image."""
        self.attachment.close()


class Ready:
    """A sandbox that only has to be sent to a QVisor. Close it then: what it has here is of no more use."""

    def __init__(self, spec: SandboxSpec, start: Start, roots: Roots) -> None:
        self.spec = spec
        self.start = start
        self.roots = roots
        self.parent: tuple[str, str] | None = None  # of a clone: (name, id) of its snapshot
        self.prepared: Prepared | None = None
        self.dependencies: Dependencies | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def restrict(self, words: list[str], caller: tuple[int, int] | None) -> None:
        """How its process is confined (words of qvisor/confinement.py and owner.py), for `caller`, UID and GID if they are known.

        Raises:
            AccessError, UsageError: see owner.choose.
        """
        self.start.assign.fields.flags |= confinement.request_flags(words)
        writable = any(not flags & lib.QK_MOUNT_RO for flags in self.roots.flags[1:])
        if writable and (owner := choose(words, caller)) is not None:
            self.start.run_as(owner)

    def take_known(self) -> tuple[int, int, int]:
        """(descriptor, offset, bytes) of the table of files that a clone depends on; the descriptor is the caller's, -1 of a cold sandbox."""
        if self.prepared is None or self.dependencies is None:
            return -1, 0, 0
        if self.dependencies.table_fd >= 0:
            return os.dup(self.dependencies.table_fd), 0, len(self.dependencies.table)
        attachment = self.prepared.attachment
        return os.dup(attachment.layout_fd), *attachment.layout.files_at

    def close(self) -> None:
        """Let go of everything."""
        self.start.close()
        self.roots.close()
        if self.dependencies is not None:
            self.dependencies.close()
        if self.prepared is not None:
            self.prepared.close()


def ready_cold(
    spec: SandboxSpec,
    state: str,
    *,
    paths: tuple[str, ...] | None = None,
    stdio: tuple[int, ...] = (),
    debug: bool = False,
) -> Ready:
    """A sandbox that boots. It sees nothing of `state`, quark's state directory; with `debug` its kernel's log is on standard error.

    Raises:
        QuarkError: what is wrong with the request, the installation or the host.
    """
    check_spec(spec)
    generation = new_generation()
    about = document(generation, clone=False, args=list(spec.argv[1:]), env=spec.env)
    ready = Ready(spec, Start(), Roots(spec, paths, state))
    try:
        ready.start.boot(kernel.open_file())
        ready.start.fill(spec, ready.roots, about, generation, debug=debug, stdio=stdio)
    except BaseException:
        ready.close()
        raise
    return ready


def ready_clone(root: str, name: str, wanted: Wanted, *, prefetch: str, domain: str, key: str) -> Ready:
    """A clone of snapshot `name`.

    Raises:
        QuarkError: what is wrong with the request, the snapshot, the installation or the host.
    """
    start = Start()
    prepared = Prepared(root, name, domain, key, populate=prefetch == "working-set")
    start.mark("attach to the image")
    return assign(prepared, start, wanted)


def assign(prepared: Prepared, start: Start, wanted: Wanted) -> Ready:
    """What a request makes of its snapshot; the result has `prepared`, which is closed if there is none.

    Raises:
        QuarkError: what is wrong with the request, the files of the snapshot or the host.
    """
    attachment = prepared.attachment
    ready: Ready | None = None
    try:
        spec = prepared.spec()
        wanted.changes.apply(spec, prepared.name, attachment.layout.ram_bytes, imported=prepared.imported)
        dependencies = Dependencies(prepared.name, attachment, prepared.digests)
        no_rootfs = not os.path.isdir(spec.rootfs) and dependencies.contains_all()
        ready = Ready(spec, start, Roots(spec, wanted.paths, prepared.root, no_rootfs=no_rootfs))
        ready.dependencies, ready.prepared = dependencies, prepared
        ready.parent = (prepared.name, attachment.snapshot_id)
        accept(dependencies, spec, ready.roots)
        start.mark("check the files")
        generation = new_generation()
        about = document(
            generation, clone=True, args=wanted.args, env=wanted.env, payload=wanted.payload, cwd=wanted.changes.cwd
        )
        start.fill(spec, ready.roots, about, generation, debug=wanted.debug, stdio=wanted.stdio)
        fields = start.assign.fields
        if dependencies.table_fd >= 0:
            fields.files, fields.files_bytes = start.assign.place(dependencies.table_fd), len(dependencies.table)
        fields.contents = start.assign.place(dependencies.contents)
        start.prepare = prepared.fill()
        attachment.hand_over()
    except BaseException:
        (ready or prepared).close()
        raise
    return ready


def accept(dependencies: Dependencies, spec: SandboxSpec, roots: Roots) -> None:
    """Look at the files without a virtual machine: that one is made by the program.

    Raises:
        SnapshotFilesError: some can not be had.
    """
    out = ffi.new("struct qv **")
    check(lib.qv_create_names(out), "look at the files that the snapshot depends on")
    try:
        config = ffi.new("struct qv_config *")
        config.ram_limit = spec.memory
        config.signals = -1
        roots.fill(config)
        check(lib.qv_configure(out[0], config), "look at the files that the snapshot depends on")
        dependencies.accept(out[0], spec, roots)
    finally:
        lib.qv_destroy(out[0])


def become(
    ready: Ready, limits: Limits, *, json: bool, confine: list[str], timing: bool = False, timing_file: int = -1
) -> NoReturn:
    """Go on as this sandbox, on this process's standard streams. `timing_file` is a descriptor for the timeline of a clone, or -1.

    Raises:
        LimitsError: `limits` cannot be had.
        QuarkError: what is wrong with the installation or the host.
    """
    if limits:
        from qvisor.cgroup import limit_process

        # The process that the caller waits for stays the same, so that nobody is left to remove the group: who makes the next one does it.
        limit_process(os.getpid(), limits, ready.spec.memory, ready.roots.fds)
    fields = ready.start.assign.fields
    fields.flags |= lib.QM_TIMING if timing else 0
    fields.timing_file = ready.start.assign.place(timing_file)
    ready.restrict(confine, (os.geteuid(), os.getegid()))
    ready.start.exec(ready.spec.memory, open_kvm(), json=json, flags=confinement.machine_flags(confine))
