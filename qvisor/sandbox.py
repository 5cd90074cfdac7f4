"""A sandbox: one virtual machine in this process, from its creation to its end."""

from __future__ import annotations

import os

from quark.errors import GuestPanicError, UsageError, VmError
from qvisor import kernel, spec
from qvisor._native import ffi, lib
from qvisor.machine import Machine, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

OOM_STATUS = 128 + 9  # SIGKILL; the signal module costs start-up time
RINGS = {"auto": lib.QK_RING_AUTO, "ring0": lib.QK_RING_0, "ring3": lib.QK_RING_3}


class Stop:
    """Why a run returned: `exited` with a status, `parked` at a capture point, or `stopped` by request."""

    __slots__ = ("reason", "status")

    def __init__(self, reason: str, status: int = 0) -> None:
        self.reason = reason
        self.status = status


class Sandbox:
    """A virtual machine of `spec`; use it as a context manager, which releases everything.

    `stdio` are the three descriptors behind the guest's standard streams, `signals` a signalfd whose signals go to the guest, or -1;
    with `no_rootfs` the root is empty, because the specification's does not exist any more;
    `paths` are the host directories that the rootfs and the volumes must be in, or None: anywhere. A `machine` that was made ahead is taken over.
    `state` is quark's state directory, which no guest sees into.
    """

    def __init__(
        self,
        sandbox_spec: spec.SandboxSpec,
        stdio: tuple[int, int, int] = (0, 1, 2),
        signals: int = -1,
        paths: tuple[str, ...] | None = None,
        machine: Machine | None = None,
        state: str = "",
        no_rootfs: bool = False,
    ) -> None:
        self.spec = sandbox_spec
        self._no_rootfs = no_rootfs
        self._paths = paths
        self._state = spec.identity(state)
        self._fds: list[int] = []
        self._machine = machine
        self._vm: Any = None
        self.generation = bytes(16)
        self._mount_flags: list[int] = []
        try:
            self._configure(stdio, signals)
        except BaseException:
            self.close()
            raise

    def _configure(self, stdio: tuple[int, int, int], signals: int) -> None:
        if len(self.spec.volumes) > spec.MOUNTS_MAX:
            raise UsageError(f"{len(self.spec.volumes)} volumes: a sandbox can have {spec.MOUNTS_MAX}")
        config = ffi.new("struct qv_config *")
        config.ram_limit = self.spec.memory
        config.signals = signals
        config.hidden_dev, config.hidden_ino = self._state
        config.roots[0] = spec.open_empty() if self._no_rootfs else spec.open_rootfs(self.spec.rootfs)
        self._fds.append(config.roots[0])
        if not self._no_rootfs:
            spec.check_beneath(config.roots[0], self._paths)
            spec.check_files(config.roots[0], self._state)
        config.root_flags[0] = lib.QK_MOUNT_RO
        for i, volume in enumerate(self.spec.volumes, 1):
            fd, single = spec.open_volume(volume)
            self._fds.append(fd)
            if volume.source:
                spec.check_beneath(fd, self._paths)
                spec.check_files(fd, self._state)
            config.roots[i] = fd
            config.root_flags[i] = (lib.QK_MOUNT_RO if volume.read_only else 0) | (lib.QK_MOUNT_FILE if single else 0)
            self._mount_flags.append(config.root_flags[i] | (lib.QK_MOUNT_SLOT if volume.slot else 0))
        config.nroots = 1 + len(self.spec.volumes)
        config.stdio[0], config.stdio[1], config.stdio[2] = stdio
        if self._machine is None:
            self._machine = Machine(self.spec.memory)
        self._vm = self._machine.vm
        check(lib.qv_configure(self._vm, config), "configure the virtual machine")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Destroy the machine; harmless when done before."""
        if self._machine is not None:
            self._machine.close()
            self._machine = self._vm = None
        while self._fds:
            os.close(self._fds.pop())

    @property
    def rootfs_fd(self) -> int:
        """O_PATH descriptor of the rootfs; the sandbox's."""
        return self._fds[0]

    @property
    def hidden(self) -> tuple[int, int]:
        """Identity of the state directory, which the guest does not see into."""
        return self._state

    @property
    def vm(self) -> Any:
        """The C handle, for capture and restore."""
        return self._vm

    def fill_comm(self, *, clone: bool, trace: bool, document: bytes) -> None:
        """Write what the guest reads about itself: boot parameters, fresh entropy and generation, the /dev/quark document."""
        comm = lib.qv_comm(self._vm)
        boot = comm.boot
        boot.ring = RINGS[self.spec.ring]
        boot.flags = (lib.QK_BOOT_TRACE if trace else 0) | (lib.QK_BOOT_TTY if os.isatty(0) else 0)
        boot.ram_limit = self.spec.memory
        boot.disk_mib = self.spec.disk >> 20
        boot.uid, boot.gid = self.spec.uid, self.spec.gid
        boot.ignored_signals = self.spec.ignored_signals
        env = [f"{k}={v}" for k, v in self.spec.environment().items()]
        targets = [v.target for v in self.spec.volumes]
        boot.argc, boot.envc, boot.nmounts = len(self.spec.argv), len(env), len(targets)
        for i, flags in enumerate(self._mount_flags):
            boot.mount_flags[i] = flags
        texts = [self.spec.cwd, self.spec.hostname, *self.spec.argv, *env, *targets]
        blob = b"".join(os.fsencode(t) + b"\0" for t in texts)
        if len(blob) > lib.QK_BOOT_SIZE:
            raise UsageError(f"arguments and environment are {len(blob)} bytes: the limit is {lib.QK_BOOT_SIZE}")
        if any("\0" in t for t in texts):
            raise UsageError("an argument contains a NUL byte")
        boot.blob_len = len(blob)
        ffi.memmove(lib.qv_comm_area(self._vm, lib.QK_OFF_BOOT), blob, len(blob))
        if len(document) > lib.QK_DOC_SIZE:
            raise UsageError(f"the /dev/quark document is {len(document)} bytes: the limit is {lib.QK_DOC_SIZE}")
        ffi.memmove(lib.qv_comm_area(self._vm, lib.QK_OFF_DOC), document, len(document))
        comm.doc_len = len(document)
        comm.clone = clone
        ffi.memmove(comm.entropy, os.urandom(64), 64)

    def set_generation(self, generation: bytes) -> None:
        """Give the guest its identity (16 bytes): a change of it is how the guest kernel notices that it is a clone."""
        self.generation = generation
        ffi.memmove(lib.qv_comm(self._vm).generation, generation, 16)

    def boot(self, elf: bytes) -> None:
        """Load the guest kernel; the next `run` starts it."""
        check(lib.qv_boot(self._vm, elf, len(elf)), f"load the guest kernel {kernel.PATH}")

    def run(self) -> Stop:
        """Run until the guest ends or parks.

        Raises:
            GuestPanicError, VmError: with the report.
        """
        out = ffi.new("struct qv_exit *")
        check(lib.qv_run(self._vm, out), "run the virtual machine")
        if out.reason == lib.QV_EXITED:
            return Stop("exited", out.status)
        if out.reason == lib.QV_PARKED:
            return Stop("parked")
        if out.reason == lib.QV_STOPPED:
            return Stop("stopped")
        text = ffi.string(out.text).decode(errors="replace")
        if out.reason == lib.QV_PANIC:
            raise GuestPanicError(f"guest kernel panic: {text}")
        raise VmError(text)

    def end_reason(self, status: int) -> str:
        """Why the guest kernel killed the program that ended with `status`, in printable characters; empty when it did not."""
        if self._vm is None or status != OOM_STATUS:
            return ""
        text = ffi.string(lib.qv_end_reason(self._vm)).decode(errors="replace")
        return "".join(c if c.isprintable() else "?" for c in text)

    def trace_text(self) -> str:
        """The tail of the guest kernel's log."""
        comm = lib.qv_comm(self._vm)
        ring = ffi.unpack(lib.qv_comm_area(self._vm, lib.QK_OFF_TRACE), lib.QK_TRACE_SIZE)
        at, size = comm.trace_pos, lib.QK_TRACE_SIZE
        raw = ring[:at] if at <= size else ring[at % size :] + ring[: at % size]
        return str(raw.decode(errors="replace"))
