"""Starts the program QVisor (qvisor/program): what a request says becomes the messages of message.h, with descriptors."""

from __future__ import annotations

import os
import time

from quark.errors import KernelImageError
from qvisor._native import ffi, lib
from qvisor.boot import fill_boot
from qvisor.machine import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from qvisor.owner import Owner
    from qvisor.roots import Roots
    from qvisor.spec import SandboxSpec

SOCKET = 3  # number of its descriptor in a process that is spawned
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


def prepare_message() -> Message:
    """Of what the snapshot or the installation decides."""
    return Message("qm_prepare", ("kernel", "image", "layout", "pager"))


def machine(
    memory: int, kvm: int, *, parent: int = 0, flags: int = 0, namespaces: tuple[int, ...] = (-1, -1, -1, -1)
) -> Message:
    """What a process needs to make a virtual machine of so many bytes, and to be confined: `kvm` is /dev/kvm.

    It ends with the process `parent`, if there is one; `flags` are QM_UNCONFINED and QM_USERS, `namespaces` what it is to be in (snapshotd/namespaces.py).
    """
    message = Message("qm_machine", ())
    message.fields.flags = flags
    for i, fd in enumerate(namespaces):
        message.fields.namespaces[i] = message.place(fd)
    message.fields.ram_max = memory
    message.fields.kvm = message.place(kvm)
    message.fields.parent = parent
    return message


def spawn(sock: int) -> int:
    """Start the program in a process of its own, with this socket for its messages; the PID.

    Raises:
        KernelImageError: this installation lacks it.
    """
    try:
        # Whatever the number was before, duplicating makes it one that is inherited. With nothing of this process's environment.
        return os.posix_spawn(PATH, ["qvisor", str(SOCKET)], {}, file_actions=[(os.POSIX_SPAWN_DUP2, sock, SOCKET)])
    except FileNotFoundError as e:
        raise KernelImageError(f"QVisor {PATH}: {e.strerror}; reinstall quark") from e


class Start:
    """What one sandbox is to be: `prepare`, what the snapshot or the installation decides, and `assign`, what the request does."""

    def __init__(self) -> None:
        self.prepare = prepare_message()
        self.assign = Message("qm_assign", ("text", "files", "contents", "timing_file"))
        for i in range(3):
            self.assign.fields.stdio[i] = -1
        self.started = time.monotonic()
        self._steps = 0
        self._kernel = self._text = -1

    def boot(self, kernel: int) -> None:
        """Have it boot a guest kernel; the descriptor is this object's from now on."""
        self._kernel = kernel
        self.prepare.fields.kernel = self.prepare.place(kernel)

    def mark(self, step: str) -> None:
        """Enter what was done since `started`, or since the step before, in the timeline."""
        now = time.monotonic()
        entry = self.assign.fields.steps[self._steps]
        entry.name, entry.us = step.encode(), int((now - self.started) * 1e6)
        self.started = now
        self._steps += 1

    def fill(
        self,
        spec: SandboxSpec,
        roots: Roots,
        about: bytes,
        generation: bytes,
        *,
        debug: bool = False,
        stdio: tuple[int, ...] = (),
    ) -> None:
        """Describe the request: `about` is its /dev/quark document, `stdio` its standard streams, if they are not to be the process's own.

        Raises:
            UsageError: its arguments are too large, or contain a NUL byte.
        """
        fields = self.assign.fields
        fields.flags = (lib.QM_DEBUG if debug else 0) | (lib.QM_MOUNTS if roots.own else 0)
        fields.hidden_dev, fields.hidden_ino = roots.hidden
        fields.nroots = len(roots.fds)
        for i, (fd, flags) in enumerate(zip(roots.fds, roots.flags, strict=True)):
            fields.roots[i] = self.assign.place(fd)
            fields.root_flags[i] = flags
        for i, fd in enumerate(stdio):
            fields.stdio[i] = self.assign.place(fd)
        tty = os.isatty(stdio[0] if stdio else 0)
        blob = fill_boot(fields.boot, spec, roots.mount_flags, about, trace=debug, tty=tty)
        self._text = os.memfd_create("quark-request", os.MFD_CLOEXEC)
        os.write(self._text, blob + about)
        fields.text = self.assign.place(self._text)
        fields.document_len = len(about)
        ffi.memmove(fields.generation, generation, len(generation))

    def run_as(self, owner: Owner) -> None:
        """Have the rights on files of this user, and those alone."""
        fields = self.assign.fields
        fields.flags |= lib.QM_AS_USER
        fields.user, fields.group, fields.ngroups = owner.uid, owner.gid, len(owner.groups)
        for i, group in enumerate(owner.groups):
            fields.groups[i] = group

    def send(self, sock: int, *, prepared: bool = False) -> None:
        """Ask a QVisor that has its machine, or has it `prepared` already.

        Raises:
            VmError: it is not there any more.
        """
        self.assign.fields.nsteps = self._steps
        self.assign.fields.sent_ns = int(self.started * 1e9)
        if not prepared:
            self.prepare.send(sock)
        self.assign.send(sock)

    def close(self) -> None:
        """Let go of what it made for the messages; harmless when done before."""
        for fd in (self._kernel, self._text):
            if fd >= 0:
                os.close(fd)
        self._kernel = self._text = -1

    def exec(self, memory: int, kvm: int, *, json: bool, flags: int = 0) -> NoReturn:
        """Become it: this process goes on as the sandbox, on its standard streams, and ends with its status.

        Raises:
            KernelImageError: this installation lacks the program.
        """
        _, sock = self._alone(memory, kvm, json=json, flags=flags)
        os.set_inheritable(sock, True)
        try:
            # With nothing of this process's environment: a guest has no business there.
            os.execve(PATH, ["qvisor", str(sock)], {})  # noqa: S606 - a program of this installation
        except OSError as e:
            raise KernelImageError(f"QVisor {PATH}: {e.strerror}; reinstall quark") from e

    def spawn(self, memory: int, kvm: int) -> int:
        """Have a child of this process become it; the PID.

        Raises:
            KernelImageError: this installation lacks the program.
        """
        pair = self._alone(memory, kvm, json=False)
        try:
            return spawn(pair[1])
        finally:
            for fd in pair:
                os.close(fd)

    def _alone(self, memory: int, kvm: int, *, json: bool, flags: int = 0) -> tuple[int, int]:
        """A socket that has all the messages in it, and their sender's end."""
        pair = ffi.new("int[2]")
        check(lib.qc_pair(pair), "make a socket for the sandbox")
        host = machine(memory, kvm, flags=flags | lib.QM_ALONE | (lib.QM_JSON if json else 0))
        host.send(pair[0])
        self.send(pair[0])
        return pair[0], pair[1]
