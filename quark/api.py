"""What the SDK's two clients share: the types they return, the requests they build, the errors they raise."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2

from quark.errors import DaemonLostError, QuarkError, SnapshotFilesError, UsageError, named_error
from quark.paths import state_root
from quark.sizes import Limits, parse_disk, parse_limits, parse_memory, parse_slot
from quark.snapshot.v1 import sandboxes_pb2 as sb
from quark.snapshot.v1 import snapshots_pb2 as sn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

STATUS_DETAILS = "grpc-status-details-bin"
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    # A daemon that is being restarted is back in a second, and it is on this host: gRPC's own waits, up to two minutes, are for networks.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
CHUNK = 1 << 20
STATES = {
    sb.Sandbox.STARTING: "starting",
    sb.Sandbox.RUNNING: "running",
    sb.Sandbox.PAUSED: "paused",
    sb.Sandbox.EXITED: "exited",
    sb.Sandbox.FAILED: "failed",
}


class DeadlineError(QuarkError):
    """The call took longer than its timeout; what it had started was ended."""

    exit_code = 83
    grpc_code = "DEADLINE_EXCEEDED"


@dataclass(frozen=True)
class Snapshot:
    """A stored capture. Sizes in bytes, times in nanoseconds since 1970 UTC; what a listing leaves out is empty."""

    name: str
    id: str
    parent: str
    created_ns: int
    pages_total: int
    pages_zero: int
    pages_same: int
    pages_new: int
    bytes_stored: int
    memory_used_bytes: int = 0
    cache_dropped_bytes: int = 0
    ram_bytes: int = 0
    pause_us: int = 0
    argv: tuple[str, ...] = ()
    rootfs: str = ""
    trigger: str = ""
    kernel: str = ""
    ring: str = ""
    working_set: bool = False
    volume_slots: tuple[str, ...] = ()
    self_contained: bool = False

    @staticmethod
    def of(m: sn.Snapshot) -> Snapshot:
        """From the message."""
        return Snapshot(
            m.name, m.id, m.parent, nanoseconds(m.create_time), m.pages_total, m.pages_zero, m.pages_same, m.pages_new,
            m.bytes_stored, m.memory_used_bytes, m.cache_dropped_bytes, m.ram_bytes, m.pause_us, tuple(m.spec.argv),
            m.spec.rootfs, m.trigger, m.kernel, m.ring, m.working_set,
            tuple(v.slot for v in m.spec.volumes if v.slot), m.self_contained,
        )  # fmt: skip


@dataclass(frozen=True)
class Dependency:
    """A file that a snapshot depends on.

    `state` is "ok", "from the store" (the host lacks it), "changed" or "missing" (no clone can start), or "changed before the capture" (what the
    guest had not read by then it cannot read any more). A file of a volume only has to be there. Sizes in bytes.
    """

    path: str
    state: str
    size: int
    contained: bool
    volume: bool

    @staticmethod
    def of(m: sn.CheckSnapshotResponse.File) -> Dependency:
        """From the message."""
        return Dependency(m.path, m.state, m.size, m.contained, m.volume)

    @property
    def satisfied(self) -> bool:
        """Whether a clone can run on the daemon's host, as far as this file goes."""
        return self.state not in {"changed", "missing"}


@dataclass(frozen=True)
class SandboxState:
    """A sandbox at one moment. `timeline` has (step, microseconds), complete when it has ended.

    `end_reason` says why the guest kernel killed the program, empty when it did not: "guest memory limit of 256 MiB reached: ...".
    """

    id: str
    state: str
    snapshot: str
    argv: tuple[str, ...]
    started_ns: int
    ended_ns: int
    exit_status: int
    error: str
    timeline: tuple[tuple[str, int], ...]
    private_bytes: int
    shared_bytes: int
    generation: str
    tty: bool = False
    error_class: str = ""
    end_reason: str = ""
    confined_by: tuple[str, ...] = ()
    cpus: float = 0
    pids: int = 0
    io_bytes: int = 0
    cpu_us: int = 0
    host_memory_bytes: int = 0
    host_memory_limit_bytes: int = 0

    @staticmethod
    def of(m: sb.Sandbox) -> SandboxState:
        """From the message."""
        return SandboxState(
            m.id, STATES.get(m.state, "unknown"), m.snapshot, tuple(m.argv), nanoseconds(m.start_time),
            nanoseconds(m.end_time), m.exit_status, m.error, tuple((s.name, s.microseconds) for s in m.timeline),
            m.private_bytes, m.shared_bytes, m.generation, m.tty, m.error_reason,
            m.end_reason, tuple(m.confined_by), m.limits.cpus, m.limits.pids, m.limits.io_bytes,
            m.cpu_microseconds, m.host_memory_bytes, m.host_memory_limit_bytes,
        )  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a sandbox that has ended left: exit status, output (the last bytes of each stream when `truncated`)."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    truncated: bool
    sandbox: SandboxState = field(repr=False)

    @staticmethod
    def of(m: sb.RunSandboxResponse) -> Result:
        """From the message."""
        return Result(m.sandbox.exit_status, m.stdout, m.stderr, m.output_truncated, SandboxState.of(m.sandbox))


@dataclass(frozen=True)
class Garbage:
    """What a collection gave back."""

    snapshots: int
    busy: int
    chunks: int
    bytes_freed: int
    leftovers: int


@dataclass(frozen=True)
class Problem:
    """Something that the check of the store found."""

    kind: str
    where: str
    what: str
    advice: str


def nanoseconds(stamp: Timestamp) -> int:
    """Of a timestamp; 0 for none."""
    return stamp.seconds * 10**9 + stamp.nanos


def target_of(named: str | None, root: str | None) -> str:
    """The gRPC target that the caller `named`, or QUARK_DAEMON does, or the socket of a state directory; a path is a socket's, as for the command."""
    target = named or os.environ.get("QUARK_DAEMON") or os.path.join(state_root(root), "run", "snapshotd.sock")
    return f"unix:{target}" if target.startswith(("/", "./", "../")) else target


def metadata(domain: str) -> tuple[tuple[str, str], ...]:
    """What goes with every call: the domain, when one is named."""
    return (("quark-domain", domain),) if domain else ()


def error_of(e: grpc.RpcError) -> QuarkError:
    """The exception that the daemon raised, as the same class."""
    call: Any = e  # the two clients' exceptions have these methods, their common base has none
    code, text = call.code(), call.details() or ""
    for key, value in call.trailing_metadata() or ():
        if key == STATUS_DETAILS:
            from google.rpc import status_pb2

            status = status_pb2.Status.FromString(value)
            info, blame = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if any(detail.Unpack(info) for detail in status.details):
                error = named_error(info.reason, text)
                # A class that is not known here keeps its status.
                error.exit_code = int(info.metadata.get("exit_code") or error.exit_code)
                lacking = error_details_pb2.PreconditionFailure()
                if isinstance(error, SnapshotFilesError) and any(detail.Unpack(lacking) for detail in status.details):
                    error.files = [(v.subject, v.description) for v in lacking.violations]
                if any(detail.Unpack(blame) for detail in status.details):
                    error.field = blame.field_violations[0].field
                return error
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError("the call took longer than its timeout; what it had started was ended")
    if code == grpc.StatusCode.UNAVAILABLE:
        return DaemonLostError(f"the daemon cannot be reached ({text}); start it with `snapshotd`")
    return QuarkError(f"the daemon answered {code.name}: {text}")


def sandbox_spec(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    rootfs: str = "/",
    volumes: Sequence[tuple[str, str] | tuple[str, str, str]] = (),
    volume_slots: Sequence[str] = (),
    memory: int | str = 0,
    disk: int | str = 0,
    ring: str = "auto",
) -> sb.SandboxSpec:
    """The message. Volumes are (host path, guest path[, "ro"]), slots "NAME:GUEST[:ro][:optional]", memory and disk are in bytes or a text like "2G"."""
    if isinstance(argv, (str, bytes)):
        raise UsageError("argv is one string; give a list: the program and its arguments")
    message = sb.SandboxSpec(
        argv=argv,
        env=dict(env or {}),
        cwd=cwd,
        rootfs=rootfs,
        memory_bytes=memory_bytes(memory),
        disk_bytes=disk_bytes(disk),
        ring=ring,
    )
    for volume in volumes:
        message.volumes.add(source=volume[0], target=volume[1], read_only=len(volume) == 3 and volume[2] == "ro")
    for slot in map(parse_slot, volume_slots):
        message.volumes.add(slot=slot.slot, target=slot.target, read_only=slot.read_only, optional=slot.optional)
    if "PATH" not in message.env:
        message.env["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return message


def memory_bytes(memory: int | str) -> int:
    """A number of bytes, or a text with K, M or G behind a number.

    Raises:
        MemorySizeError: no such text.
    """
    return parse_memory(memory) if isinstance(memory, str) else memory


def disk_bytes(disk: int | str) -> int:
    """What files in guest memory may hold: a number of bytes, or a text with K, M or G behind a number.

    Raises:
        MemorySizeError: no such text.
    """
    return parse_disk(disk) if isinstance(disk, str) else disk


def take_limits(spec: dict[str, Any]) -> sb.Limits:
    """Remove `cpus` (processors), `pids` and `io` (bytes a second, or a text like "10M") from the options of a sandbox; the message of them."""
    cpus, pids, io = (spec.pop(name, 0) for name in ("cpus", "pids", "io"))
    if isinstance(io, str):
        io = parse_limits("", "", io).io
    limits = Limits(cpus, pids, io)
    for name, problem in limits.problems():
        raise UsageError(f"{name}={problem}")
    return sb.Limits(cpus=limits.cpus, pids=limits.pids, io_bytes=limits.io)


def take_access(spec: dict[str, Any]) -> sb.VolumeAccess:
    """Remove `volume_user` ("USER[:GROUP]") and `allow_set_id` from the options of a sandbox; the message of them."""
    return sb.VolumeAccess(user=spec.pop("volume_user", ""), allow_set_id=spec.pop("allow_set_id", False))


def create_request(
    name: str,
    argv: Sequence[str],
    spec: dict[str, Any],
    ready: str,
    value: str | float,
    *,
    reseed: bool,
    self_contained: bool,
) -> sn.CreateSnapshotRequest:
    """The message for the trigger `ready`: "file", "log" (value: regular expression), "after" (value: seconds)."""
    limits, access = take_limits(spec), take_access(spec)
    request = sn.CreateSnapshotRequest(
        name=name, spec=sandbox_spec(argv, **spec), no_reseed=not reseed, self_contained=self_contained, limits=limits, volume_access=access
    )  # fmt: skip
    if ready == "file":
        request.ready_file = True
    elif ready == "log":
        request.ready_log = str(value)
    elif ready == "after":
        request.ready_after_seconds = float(value)
    else:
        raise UsageError(f"ready={ready!r} is not one of file, log, after")
    return request


def run_request(
    argv: Sequence[str] | None,
    snapshot: str | None,
    *,
    args: Sequence[str],
    env: Mapping[str, str] | None,
    payload: str,
    prefetch: bool,
    wait: bool,
    stdin: bytes,
    tty: bool,
    spec: dict[str, Any],
) -> sb.RunSandboxRequest:
    """A cold sandbox of `argv`, or a clone of `snapshot`."""
    limits, access = take_limits(spec), take_access(spec)
    request = sb.RunSandboxRequest(wait=wait, stdin=stdin, tty=tty, limits=limits, volume_access=access)
    if (argv is None) == (snapshot is None):
        raise UsageError("give either argv or snapshot")
    if snapshot is None:
        request.spec.CopyFrom(sandbox_spec(argv or (), env=env, **spec))
        return request
    unwanted = [name for name in spec if name not in {"cwd", "memory", "disk", "volumes", "rootfs", "host_paths"}]
    if unwanted:
        raise UsageError(f"{unwanted[0]} belongs to the snapshot and cannot be changed for a clone")
    clone = request.clone
    clone.snapshot, clone.payload, clone.no_prefetch = snapshot, payload, not prefetch
    clone.args.extend(args)
    clone.env.update(env or {})
    clone.cwd = spec.get("cwd", "")
    clone.rootfs = os.path.abspath(spec["rootfs"]) if spec.get("rootfs") else ""
    clone.host_paths = spec.get("host_paths", False)
    clone.memory_bytes = memory_bytes(spec.get("memory", 0))
    clone.disk_bytes = disk_bytes(spec.get("disk", 0))
    volumes = spec.get("volumes", {})
    if not isinstance(volumes, dict):
        raise UsageError(
            "volumes of a clone are a mapping: name of a slot, or path of a volume in the guest, to a directory of the host, or to (directory, 'ro')"
        )
    for key, volume in volumes.items():
        source, *mode = (volume,) if isinstance(volume, str) else volume
        place = {"target": key} if key.startswith("/") else {"slot": key}
        clone.volumes.add(**place, source=os.path.abspath(source), read_only=mode == ["ro"])
    return request


def import_requests(file: Any, name: str | None, host_paths: bool) -> Iterator[sn.ImportSnapshotRequest]:
    """The messages for a stream that is read to its end."""
    data = file.read(CHUNK)
    yield sn.ImportSnapshotRequest(
        name=name or "", data=data, host_paths=host_paths
    )  # even of an empty file: the daemon says what is wrong with it
    while data := file.read(CHUNK):
        yield sn.ImportSnapshotRequest(data=data)
