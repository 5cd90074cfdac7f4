"""Starts the program QVisor (qvisor/program): what a request says becomes the messages of message.h, with descriptors."""

from __future__ import annotations

import os
import time

from quark.errors import KernelImageError
from qvisor import kernel
from qvisor._native import ffi, lib
from qvisor.boot import fill_boot
from qvisor.document import document, new_generation
from qvisor.machine import check, open_kvm
from qvisor.roots import Roots
from qvisor.spec import check as check_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from qvisor.spec import SandboxSpec

PATH = os.path.join(os.path.dirname(__file__), "data", "qvisor")


class Message:
    """A structure of message.h and the descriptors that it names; these stay the caller's."""

    def __init__(self, name: str, descriptors: tuple[str, ...]) -> None:
        self.fields: Any = ffi.new(f"struct {name} *")
        self.fields.version = lib.QM_VERSION
        self._name = name
        self._fds: list[int] = []
        for field in descriptors:
            setattr(self.fields, field, -1)

    def place(self, fd: int) -> int:
        """Send the descriptor along (-1: none); returns what goes into its field."""
        if fd < 0:
            return -1
        self._fds.append(fd)
        return len(self._fds) - 1

    def send(self, sock: int) -> None:
        """Send it.

        Raises:
            VmError: it could not be sent.
        """
        size = ffi.sizeof(f"struct {self._name}")
        check(lib.qc_send(sock, self.fields, size, self._fds, len(self._fds)), "ask for the sandbox")


def machine(memory: int, kvm: int, *, parent: int = 0) -> Message:
    """What a process needs to make a virtual machine of so many bytes: `kvm` is /dev/kvm. It ends with the process `parent`, if there is one."""
    message = Message("qm_machine", ())
    message.fields.ram_max = memory
    message.fields.kvm = message.place(kvm)
    message.fields.parent = parent
    return message


class Start:
    """What one sandbox is to be: `prepare`, what the snapshot or the installation decides, and `assign`, what the request does."""

    def __init__(self) -> None:
        self.prepare = Message("qm_prepare", ("kernel", "image", "layout", "pager"))
        self.assign = Message("qm_assign", ("text", "files", "contents", "timing_file"))
        for i in range(3):
            self.assign.fields.stdio[i] = -1
        self.started = time.monotonic()
        self._steps = 0

    def mark(self, step: str) -> None:
        """Enter what was done since `started`, or since the step before, in the timeline."""
        now = time.monotonic()
        entry = self.assign.fields.steps[self._steps]
        entry.name, entry.us = step.encode(), int((now - self.started) * 1e6)
        self.started = now
        self._steps += 1

    def fill(self, spec: SandboxSpec, roots: Roots, about: bytes, generation: bytes, *, debug: bool) -> None:
        """Describe the request: `about` is its /dev/quark document.

        Raises:
            UsageError: its arguments are too large, or contain a NUL byte.
        """
        fields = self.assign.fields
        fields.flags = lib.QM_DEBUG if debug else 0
        fields.hidden_dev, fields.hidden_ino = roots.hidden
        fields.nroots = len(roots.fds)
        for i, (fd, flags) in enumerate(zip(roots.fds, roots.flags, strict=True)):
            fields.roots[i] = self.assign.place(fd)
            fields.root_flags[i] = flags
        blob = fill_boot(fields.boot, spec, roots.mount_flags, about, trace=debug)
        text = os.memfd_create("quark-request", os.MFD_CLOEXEC)
        os.write(text, blob + about)
        fields.text = self.assign.place(text)
        fields.document_len = len(about)
        ffi.memmove(fields.generation, generation, len(generation))

    def send(self, sock: int) -> None:
        """Ask a QVisor that has its machine.

        Raises:
            VmError: it is not there any more.
        """
        self.assign.fields.nsteps = self._steps
        self.assign.fields.sent_ns = int(self.started * 1e9)
        self.prepare.send(sock)
        self.assign.send(sock)

    def exec(self, memory: int, kvm: int, *, json: bool) -> NoReturn:
        """Become it: this process goes on as the sandbox, on its standard streams, and ends with its status.

        Raises:
            KernelImageError: this installation lacks the program.
        """
        pair = ffi.new("int[2]")
        check(lib.qc_pair(pair), "make a socket for the sandbox")
        host = machine(memory, kvm)
        host.fields.flags = lib.QM_ALONE | (lib.QM_JSON if json else 0)
        host.send(pair[0])
        self.send(pair[0])
        os.set_inheritable(pair[1], True)
        try:
            # With nothing of this process's environment: a guest has no business there.
            os.execve(PATH, ["qvisor", str(pair[1])], {})  # noqa: S606 - a program of this installation
        except OSError as e:
            raise KernelImageError(f"QVisor {PATH}: {e.strerror}; reinstall quark") from e


def exec_cold(spec: SandboxSpec, state: str, *, debug: bool, json: bool) -> NoReturn:
    """Become a sandbox that runs `spec`'s program. It sees nothing of `state`, quark's state directory; with `debug` its kernel's log is on standard error.

    Raises:
        QuarkError: what is wrong with the request, the installation or the host.
    """
    check_spec(spec)
    lib.qv_signals()  # a signal that comes meanwhile is the guest's, too
    generation = new_generation()
    about = document(generation, clone=False, args=list(spec.argv[1:]), env=spec.env)
    roots = Roots(spec, None, state)
    kvm = open_kvm()
    start = Start()
    start.fill(spec, roots, about, generation, debug=debug)
    start.prepare.fields.kernel = start.prepare.place(kernel.open_file())
    start.exec(spec.memory, kvm, json=json)
