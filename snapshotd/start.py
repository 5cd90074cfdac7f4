"""Starts a clone as a process of its own, the program QVisor: what needs the store, the pager or names of the host is done here."""

from __future__ import annotations

import os

from qvisor._native import ffi, lib
from qvisor.document import document, new_generation
from qvisor.machine import check, open_kvm
from qvisor.process import Start
from qvisor.roots import Roots
from qvisor.spec import Changes, SandboxSpec
from snapshotd.accept import Dependencies
from snapshotd.client import attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from snapshotd.client import Attachment


def exec_clone(
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
    debug: bool,
    json: bool,
    timing: bool,
    timing_file: int,
) -> NoReturn:
    """Become a clone of snapshot `name`; `timing_file` is a descriptor for its timeline, or -1.

    Raises:
        QuarkError: what is wrong with the request, the snapshot, the installation or the host.
    """
    lib.qv_signals()  # a signal that comes meanwhile is the guest's, too
    start = Start()
    attachment = attach(root, name, domain, key)
    layout = attachment.layout
    wanted = prefetch == "working-set" and bool(layout.working_set)
    if wanted and not attachment.complete:
        attachment.start_prefetch()
    ring, *strings = layout.spec.decode("utf-8", "surrogateescape").split("\0")
    spec = SandboxSpec.from_strings(strings)
    changes.apply(spec, name, layout.ram_bytes)
    start.mark("attach to the image")
    dependencies = Dependencies(name, attachment, os.path.join(root, "domains", domain))
    roots = Roots(spec, None, root, no_rootfs=not os.path.isdir(spec.rootfs) and dependencies.contains_all())
    kvm = open_kvm()
    accept(dependencies, spec, roots)
    start.mark("check the files")
    generation = new_generation()
    about = document(generation, clone=True, args=args, env=env, payload=payload, cwd=changes.cwd)
    start.fill(spec, roots, about, generation, debug=debug)
    describe(start, attachment, int(ring), populate=wanted)
    fields = start.assign.fields
    fields.flags |= lib.QM_TIMING if timing else 0
    fields.timing_file = start.assign.place(timing_file)
    fields.files, fields.files_bytes = start.assign.place(dependencies.table_fd), len(dependencies.table)
    fields.contents = start.assign.place(dependencies.contents)
    start.exec(spec.memory, kvm, json=json)


def describe(start: Start, attachment: Attachment, ring: int, *, populate: bool) -> None:
    """What the snapshot decides of the machine."""
    fields = start.prepare.fields
    fields.flags |= lib.QM_CLONE
    fields.flags |= lib.QM_COMPLETE if attachment.complete else 0
    fields.flags |= lib.QM_PREFETCH if attachment.prefetching else 0
    fields.flags |= lib.QM_POPULATE if populate else 0
    fields.image = start.prepare.place(attachment.image_fd)
    fields.layout = start.prepare.place(attachment.layout_fd)
    fields.pager = start.prepare.place(attachment.sock)
    fields.ring = ring


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
