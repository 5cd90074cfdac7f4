"""Between messages and the library's types, with every field of a request checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from quark.errors import FieldError, UsageError, named_error
from quark.sizes import MEMORY_DEFAULT, MEMORY_MAX, MIB, SLOT, Limits, Volume, is_slot_name
from quark.snapshot.v1 import sandboxes_pb2 as sb
from quark.snapshot.v1 import snapshots_pb2 as sn
from qvisor.confinement import SET_ID
from qvisor.owner import parse_user
from qvisor.spec import Changes, SandboxSpec
from snapshotd.daemon import sandbox as states
from snapshotd.daemon.errors import told
from snapshotd.daemon.memory import processor_time

if TYPE_CHECKING:
    from snapshotd.daemon.sandbox import Sandbox
    from snapshotd.metadata import Metadata
    from snapshotd.store import SnapshotInfo

PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX = 100, 1000
STATES = {
    states.STARTING: sb.Sandbox.STARTING,
    states.RUNNING: sb.Sandbox.RUNNING,
    states.PAUSED: sb.Sandbox.PAUSED,
    states.EXITED: sb.Sandbox.EXITED,
    states.FAILED: sb.Sandbox.FAILED,
}


def spec_of(message: sb.SandboxSpec) -> SandboxSpec:
    """The sandbox that a request describes.

    Raises:
        FieldError: naming the field.
    """
    if not message.argv or not message.argv[0]:
        raise FieldError("spec.argv", "is empty; give a program and its arguments")
    for field, path in (("spec.cwd", message.cwd), ("spec.rootfs", message.rootfs)):
        if path and not path.startswith("/"):
            raise FieldError(field, f"{path!r} is not an absolute path")
    for i, volume in enumerate(message.volumes):
        if volume.slot:
            if volume.source or not is_slot_name(volume.slot):
                raise FieldError(f"spec.volumes[{i}]", "a slot has a name of letters, digits, _ and -, and no source")
        elif not volume.source.startswith("/"):
            raise FieldError(f"spec.volumes[{i}]", "source and target have to be absolute paths")
        if not volume.target.startswith("/"):
            raise FieldError(f"spec.volumes[{i}]", "source and target have to be absolute paths")
    if message.ring not in {"", "auto", "ring0", "ring3"}:
        raise FieldError("spec.ring", f"{message.ring!r} is not one of auto, ring0, ring3")
    memory = memory_of("spec.memory_bytes", message.memory_bytes or MEMORY_DEFAULT)
    texts: dict[str, list[str]] = {
        "spec.argv": list(message.argv),
        "spec.env": [*message.env, *message.env.values()],
        "spec.cwd": [message.cwd],
        "spec.rootfs": [message.rootfs],
        "spec.hostname": [message.hostname],
        **{f"spec.volumes[{i}]": [v.source, v.target] for i, v in enumerate(message.volumes)},
    }
    for field, values in texts.items():
        if any("\0" in value for value in values):
            raise FieldError(field, "contains a NUL byte")
    if any(not name or "=" in name for name in message.env):
        raise FieldError("spec.env", "a name is empty or contains '='")
    return SandboxSpec(
        tuple(message.argv),
        env=dict(message.env),
        cwd=message.cwd or "/",
        rootfs=message.rootfs or "/",
        volumes=tuple(Volume(v.source, v.target, v.read_only, v.slot, v.optional) for v in message.volumes),
        memory=memory,
        disk=disk_of("spec.disk_bytes", message.disk_bytes, memory),
        ring=message.ring or "auto",
        hostname=message.hostname or "quark",
        uid=message.uid,
        gid=message.gid,
    )


def memory_of(field: str, size: int) -> int:
    """A limit of guest memory in whole slots.

    Raises:
        MemorySizeError: out of range.
    """
    if not SLOT <= size <= MEMORY_MAX:
        raise named_error(
            "MemorySizeError", f"{field}: {size} is out of range; a sandbox has {SLOT} to {MEMORY_MAX} bytes"
        )
    return -(-size // SLOT) * SLOT


def disk_of(field: str, size: int, memory: int) -> int:
    """A limit of files in guest memory in whole MiB; 0: the default. `memory` in bytes, 0: the snapshot's.

    Raises:
        MemorySizeError: out of range, or more than the memory.
    """
    if size and not MIB <= size <= MEMORY_MAX:
        raise named_error("MemorySizeError", f"{field}: {size} is out of range; give {MIB} to {MEMORY_MAX} bytes")
    if memory and size > memory:
        raise named_error(
            "MemorySizeError", f"{field}: {size} is more than the memory, {memory} bytes, which has the files"
        )
    return size // MIB * MIB


def limits_of(message: sb.Limits) -> Limits:
    """What a sandbox may take of the host.

    Raises:
        FieldError: naming the field.
    """
    limits = Limits(message.cpus, message.pids, message.io_bytes)
    for name, problem in limits.problems():
        raise FieldError({"io": "limits.io_bytes"}.get(name, f"limits.{name}"), problem)
    return limits


def access_of(message: sb.VolumeAccess) -> list[str]:
    """Words of qvisor/confinement.py and owner.py.

    Raises:
        FieldError: naming the field.
    """
    words = [SET_ID] if message.allow_set_id else []
    try:
        return [*words, parse_user(message.user)] if message.user else words
    except UsageError:
        raise FieldError(
            "volume_access.user", f"{message.user!r}: no such user or group; give USER[:GROUP] by name, or UID:GID"
        ) from None


def changes_of(message: sb.CloneRequest) -> Changes:
    """What a clone has otherwise than its snapshot.

    Raises:
        FieldError: naming the field.
    """
    if message.cwd and not message.cwd.startswith("/"):
        raise FieldError("clone.cwd", f"{message.cwd!r} is not an absolute path")
    for i, volume in enumerate(message.volumes):
        place = is_slot_name(volume.slot) if volume.slot else volume.target.startswith("/")
        if not place or (volume.slot and volume.target) or not _is_path(volume.source) or "\0" in volume.target:
            raise FieldError(
                f"clone.volumes[{i}]",
                "needs the name of a slot, or where in the guest the volume is, and an absolute path of the host",
            )
    if message.rootfs and not _is_path(message.rootfs):
        raise FieldError("clone.rootfs", "is not an absolute path")
    memory = memory_of("clone.memory_bytes", message.memory_bytes) if message.memory_bytes else 0
    volumes = tuple(Volume(v.source, v.target, v.read_only, v.slot) for v in message.volumes)
    disk = disk_of("clone.disk_bytes", message.disk_bytes, memory)
    return Changes(message.cwd, memory, volumes, disk, message.rootfs, host_paths=message.host_paths)


def _is_path(text: str) -> bool:
    return text.startswith("/") and "\0" not in text


def spec_message(spec: SandboxSpec) -> sb.SandboxSpec:
    """Reverse `spec_of`."""
    return sb.SandboxSpec(
        argv=spec.argv,
        env=spec.env,
        cwd=spec.cwd,
        rootfs=spec.rootfs,
        volumes=[
            sb.Volume(source=v.source, target=v.target, read_only=v.read_only, slot=v.slot, optional=v.optional)
            for v in spec.volumes
        ],
        memory_bytes=spec.memory,
        disk_bytes=spec.disk,
        ring=spec.ring,
        hostname=spec.hostname,
        uid=spec.uid,
        gid=spec.gid,
    )


def timestamp(ns: int) -> Timestamp | None:
    """Nanoseconds since 1970 as a message; None for 0."""
    return Timestamp(seconds=ns // 10**9, nanos=ns % 10**9) if ns else None


def snapshot_message(info: SnapshotInfo, meta: Metadata | None = None, *, working_set: bool = False) -> sn.Snapshot:
    """What is known of a snapshot; without its document what the catalogue knows."""
    message = sn.Snapshot(
        name=info.name,
        id=info.id,
        parent=info.parent or "",
        create_time=timestamp(info.created_ns),
        pages_total=info.pages_total,
        pages_zero=info.pages_zero,
        pages_same=info.pages_same,
        pages_new=info.pages_new,
        bytes_stored=info.bytes_stored,
    )
    if meta is not None:
        message.memory_used_bytes = meta.stats["ram_used"]
        message.cache_dropped_bytes = meta.stats.get("cache_dropped", 0)
        message.ram_bytes = meta.ram_bytes
        message.pause_us = meta.stats["pause_us"]
        message.spec.CopyFrom(spec_message(SandboxSpec.from_dict(meta.spec)))
        message.trigger = meta.trigger
        message.kernel = meta.kernel
        message.ring = "ring0" if meta.ring == 1 else "ring3"
        message.working_set = working_set
        message.self_contained = meta.self_contained
    return message


def sandbox_message(sandbox: Sandbox, *, memory: bool = True) -> sb.Sandbox:
    """What is known of a sandbox."""
    private, shared = sandbox.memory() if memory and not sandbox.ended.is_set() else (0, 0)
    group = sandbox.worker.group if memory and not sandbox.ended.is_set() else None
    limits = sandbox.limits
    return sb.Sandbox(
        id=sandbox.id,
        state=STATES[sandbox.state],
        snapshot=sandbox.snapshot,
        argv=sandbox.argv,
        start_time=timestamp(sandbox.start_ns),
        end_time=timestamp(sandbox.end_ns),
        exit_status=sandbox.exit_status,
        end_reason=sandbox.end_reason,
        error=told(sandbox.error) if sandbox.error else "",
        error_reason=type(sandbox.error).__name__ if sandbox.error else "",
        timeline=[sb.Step(name=name, microseconds=us) for name, us in sandbox.timeline],
        private_bytes=private,
        shared_bytes=shared,
        generation=sandbox.generation,
        tty=sandbox.streams is not None and sandbox.streams.tty,
        confined_by=sandbox.confined_by,
        limits=sb.Limits(cpus=limits.cpus, pids=limits.pids, io_bytes=limits.io) if limits else None,
        cpu_microseconds=processor_time(sandbox.worker) if memory and not sandbox.ended.is_set() else 0,
        host_memory_bytes=group.memory() if group else 0,
        host_memory_limit_bytes=sandbox.memory_limit,
    )


def page_size(wanted: int) -> int:
    """How many results to give.

    Raises:
        FieldError: more than allowed.
    """
    if wanted > PAGE_SIZE_MAX:
        raise FieldError("page_size", f"{wanted} is more than {PAGE_SIZE_MAX}")
    return wanted or PAGE_SIZE_DEFAULT
