"""The places on the host that a sandbox has files of: its rootfs and its volumes, opened and checked."""

from __future__ import annotations

import os

from quark.errors import UsageError
from qvisor import spec
from qvisor._native import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Roots:
    """Descriptors of the rootfs and the volumes, in this order, with the QK_MOUNT_* flags of each. `mount_flags` are those of the volumes for the guest.

    `paths` are the host directories that all must be in, or None: anywhere; `state` is quark's state directory, which no guest sees into; with
    `no_rootfs` the root is empty, because the specification's does not exist any more.

    `own`: each of them is a mount of its own, out of which nothing leads (not for who may not make mounts).

    Raises:
        UsageError, RootfsError, VolumeError, PathDeniedError: one cannot be had.
    """

    def __init__(
        self, sandbox: spec.SandboxSpec, paths: tuple[str, ...] | None, state: str, *, no_rootfs: bool = False
    ) -> None:
        self.hidden = spec.identity(state)
        self.fds: list[int] = []
        self.flags: list[int] = [lib.QK_MOUNT_RO]
        self.mount_flags: list[int] = []
        if len(sandbox.volumes) > spec.MOUNTS_MAX:
            raise UsageError(f"{len(sandbox.volumes)} volumes: a sandbox can have {spec.MOUNTS_MAX}")
        try:
            self.fds.append(spec.open_empty() if no_rootfs else spec.open_rootfs(sandbox.rootfs))
            if not no_rootfs:
                self._check(paths)
            for volume in sandbox.volumes:
                fd, single = spec.open_volume(volume)
                self.fds.append(fd)
                if volume.source:
                    self._check(paths)
                flags = (lib.QK_MOUNT_RO if volume.read_only else 0) | (lib.QK_MOUNT_FILE if single else 0)
                self.flags.append(flags)
                self.mount_flags.append(flags | (lib.QK_MOUNT_SLOT if volume.slot else 0))
            self.own = self._make_own()
        except BaseException:
            self.close()
            raise

    def _check(self, paths: tuple[str, ...] | None) -> None:
        spec.check_beneath(self.fds[-1], paths)
        spec.check_files(self.fds[-1], self.hidden)

    def _make_own(self) -> bool:
        """Put mounts of nobody else in the place of all of them, if this process may."""
        for i, fd in enumerate(self.fds):
            own = lib.qv_own_mount(fd, self.flags[i] & lib.QK_MOUNT_RO)
            if own < 0:
                return False
            os.close(fd)
            self.fds[i] = own
        return True

    def fill(self, config: Any) -> None:
        """Enter them in a struct qv_config."""
        config.hidden_dev, config.hidden_ino = self.hidden
        config.nroots = len(self.fds)
        for i, (fd, flags) in enumerate(zip(self.fds, self.flags, strict=True)):
            config.roots[i] = fd
            config.root_flags[i] = flags

    def close(self) -> None:
        """Close them; harmless when done before."""
        while self.fds:
            os.close(self.fds.pop())
