"""Gets sandboxes ready for the program QVisor: what needs the store, the pager or names of the host is done here."""

from __future__ import annotations

import os

from qvisor import kernel
from qvisor._native import ffi, lib
from qvisor.document import document, new_generation
from qvisor.machine import check, open_kvm
from qvisor.process import Start
from qvisor.roots import Roots
from qvisor.spec import Changes, SandboxSpec
from qvisor.spec import check as check_spec
from snapshotd.accept import Dependencies
from snapshotd.client import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Self

    from snapshotd.client import Attachment


class Ready:
    """A sandbox that only has to be sent to a QVisor. Close it then: what it has here is of no more use."""

    def __init__(self, spec: SandboxSpec, start: Start, roots: Roots) -> None:
        self.spec = spec
        self.start = start
        self.roots = roots
        self.parent: tuple[str, str] | None = None  # of a clone: (name, id) of its snapshot
        self.attachment: Attachment | None = None
        self.dependencies: Dependencies | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take_known(self) -> tuple[int, int, int]:
        """(descriptor, offset, bytes) of the table of files that a clone depends on; the descriptor is the caller's, -1 of a cold sandbox."""
        if self.attachment is None or self.dependencies is None:
            return -1, 0, 0
        if self.dependencies.table_fd >= 0:
            return os.dup(self.dependencies.table_fd), 0, len(self.dependencies.table)
        return os.dup(self.attachment.layout_fd), *self.attachment.layout.files_at

    def close(self) -> None:
        """Let go of everything."""
        self.start.close()
        self.roots.close()
        if self.dependencies is not None:
            self.dependencies.close()
        if self.attachment is not None:
            self.attachment.close()


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


def ready_clone(
    root: str,
    name: str,
    *,
    args: list[str],
    env: dict[str, str],
    payload: str,
    prefetch: str,
    changes: Changes,
    domain: str,
    key: str,
    paths: tuple[str, ...] | None = None,
    stdio: tuple[int, ...] = (),
    debug: bool = False,
) -> Ready:
    """A clone of snapshot `name`.

    Raises:
        QuarkError: what is wrong with the request, the snapshot, the installation or the host.
    """
    start = Start()
    attachment = attach(root, name, domain, key)
    ready: Ready | None = None
    try:
        layout = attachment.layout
        wanted = prefetch == "working-set" and bool(layout.working_set)
        if wanted and not attachment.complete:
            attachment.start_prefetch()
        ring, *strings = layout.spec.decode("utf-8", "surrogateescape").split("\0")
        spec = SandboxSpec.from_strings(strings)
        changes.apply(spec, name, layout.ram_bytes)
        start.mark("attach to the image")
        dependencies = Dependencies(name, attachment, os.path.join(root, "domains", domain))
        no_rootfs = not os.path.isdir(spec.rootfs) and dependencies.contains_all()
        ready = Ready(spec, start, Roots(spec, paths, root, no_rootfs=no_rootfs))
        ready.dependencies, ready.attachment = dependencies, attachment
        ready.parent = (name, attachment.snapshot_id)
        accept(dependencies, spec, ready.roots)
        start.mark("check the files")
        generation = new_generation()
        about = document(generation, clone=True, args=args, env=env, payload=payload, cwd=changes.cwd)
        start.fill(spec, ready.roots, about, generation, debug=debug, stdio=stdio)
        describe(start, attachment, dependencies, int(ring), populate=wanted)
    except BaseException:
        (ready or attachment).close()
        raise
    return ready


def describe(start: Start, attachment: Attachment, dependencies: Dependencies, ring: int, *, populate: bool) -> None:
    """Say what the snapshot decides, and where its files are."""
    prepare, assign = start.prepare, start.assign
    prepare.fields.flags |= lib.QM_CLONE
    prepare.fields.flags |= lib.QM_COMPLETE if attachment.complete else 0
    prepare.fields.flags |= lib.QM_PREFETCH if attachment.prefetching else 0
    prepare.fields.flags |= lib.QM_POPULATE if populate else 0
    prepare.fields.image = prepare.place(attachment.image_fd)
    prepare.fields.layout = prepare.place(attachment.layout_fd)
    prepare.fields.pager = prepare.place(attachment.sock)
    prepare.fields.ring = ring
    if dependencies.table_fd >= 0:
        assign.fields.files, assign.fields.files_bytes = assign.place(dependencies.table_fd), len(dependencies.table)
    assign.fields.contents = assign.place(dependencies.contents)


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


def become(ready: Ready, *, json: bool, timing: bool = False, timing_file: int = -1) -> NoReturn:
    """Go on as this sandbox, on this process's standard streams. `timing_file` is a descriptor for the timeline of a clone, or -1.

    Raises:
        QuarkError: what is wrong with the installation or the host.
    """
    fields = ready.start.assign.fields
    fields.flags |= lib.QM_TIMING if timing else 0
    fields.timing_file = ready.start.assign.place(timing_file)
    ready.start.exec(ready.spec.memory, open_kvm(), json=json)
