"""A sandbox: one virtual machine in this process, from its creation to its end."""

from __future__ import annotations

import os

from quark.errors import GuestPanicError, VmError
from qvisor import kernel
from qvisor._native import ffi, lib
from qvisor.boot import fill_boot
from qvisor.machine import Machine, check
from qvisor.roots import Roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from qvisor.spec import SandboxSpec


class Stop:
    """Why a run returned: `exited` with a status, `parked` at a capture point, or `stopped` by request."""

    __slots__ = ("reason", "status")

    def __init__(self, reason: str, status: int = 0) -> None:
        self.reason = reason
        self.status = status


class Sandbox:
    """A virtual machine of `spec`; use it as a context manager, which releases everything.

    `stdio` are the three descriptors behind the guest's standard streams, `signals` a signalfd whose signals go to the guest, or -1;
    `state` is quark's state directory, which no guest sees into. (Most sandboxes are processes of their own: qvisor/process.py.)
    """

    def __init__(
        self,
        sandbox_spec: SandboxSpec,
        stdio: tuple[int, int, int] = (0, 1, 2),
        signals: int = -1,
        state: str = "",
    ) -> None:
        self.spec = sandbox_spec
        self.roots = Roots(sandbox_spec, None, state)
        self._machine: Machine | None = None
        self._vm: Any = None
        try:
            self._configure(stdio, signals)
        except BaseException:
            self.close()
            raise

    def _configure(self, stdio: tuple[int, int, int], signals: int) -> None:
        config = ffi.new("struct qv_config *")
        config.ram_limit = self.spec.memory
        config.signals = signals
        self.roots.fill(config)
        config.stdio[0], config.stdio[1], config.stdio[2] = stdio
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
        self.roots.close()

    @property
    def vm(self) -> Any:
        """The C handle, for capture and restore."""
        return self._vm

    def fill_comm(self, *, clone: bool, trace: bool, document: bytes) -> None:
        """Write what the guest reads about itself: boot parameters, fresh entropy and generation, the /dev/quark document."""
        comm = lib.qv_comm(self._vm)
        blob = fill_boot(comm.boot, self.spec, self.roots.mount_flags, document, trace=trace, tty=os.isatty(0))
        ffi.memmove(lib.qv_comm_area(self._vm, lib.QK_OFF_BOOT), blob, len(blob))
        ffi.memmove(lib.qv_comm_area(self._vm, lib.QK_OFF_DOC), document, len(document))
        comm.doc_len = len(document)
        comm.clone = clone
        ffi.memmove(comm.entropy, os.urandom(64), 64)

    def set_generation(self, generation: bytes) -> None:
        """Give the guest its identity (16 bytes): a change of it is how the guest kernel notices that it is a clone."""
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
