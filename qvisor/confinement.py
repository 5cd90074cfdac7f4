"""What QVisor's process is confined by (qvisor/program/confine.c, docs/threat-model.md), in words."""

from __future__ import annotations

from qvisor._native import lib

PARTS = {
    "capabilities": (lib.QM_BY_CAPABILITIES, "none, or root's for files with --any-owner"),
    "no-new-privileges": (lib.QM_BY_PRIVILEGES, "nothing that is executed gives any"),
    "namespaces": (lib.QM_BY_NAMESPACES, "mount, IPC, UTS and cgroup namespaces without anything of the host"),
    "network": (lib.QM_BY_NETWORK, "a network namespace without interfaces"),
    "empty-root": (lib.QM_BY_ROOT, "no file of the host has a name"),
    "limits": (lib.QM_BY_LIMITS, "no core file, no locked memory, a number of files"),
    "system-calls": (lib.QM_BY_SYSCALLS, "a filter that ends the process at any other"),
    "landlock": (lib.QM_BY_LANDLOCK, "files are opened beneath rootfs and volumes alone"),
    "own-mounts": (lib.QM_BY_MOUNTS, "nothing leads out of rootfs and volumes"),
}
ANY_OWNER, STRICT, SET_ID, UNCONFINED = (
    "any-owner",
    "strict",
    "set-id",
    "unconfined",
)  # what a request may ask for (the last without a daemon only)


def parts(bits: int) -> list[str]:
    """The names of the QM_BY_* in `bits`."""
    return [name for name, (bit, _) in PARTS.items() if bits & bit]


def machine_flags(wanted: list[str]) -> int:
    """What struct qm_machine says of a request's words."""
    return (lib.QM_UNCONFINED if UNCONFINED in wanted else 0) | (lib.QM_USERS if STRICT in wanted else 0)


def request_flags(wanted: list[str]) -> int:
    """What struct qm_assign says of them."""
    flags = {ANY_OWNER: lib.QM_ANY_OWNER, STRICT: lib.QM_STRICT, SET_ID: lib.QM_SET_ID}
    return sum(flags.get(word, 0) for word in set(wanted))
