"""What QVisor's process is confined by (qvisor/program/confine.c, docs/threat-model.md), in words."""

from __future__ import annotations

from qvisor._native import lib

PARTS = {
    "capabilities": lib.QM_BY_CAPABILITIES,
    "no-new-privileges": lib.QM_BY_PRIVILEGES,
    "namespaces": lib.QM_BY_NAMESPACES,
    "network": lib.QM_BY_NETWORK,
    "empty-root": lib.QM_BY_ROOT,
    "limits": lib.QM_BY_LIMITS,
    "system-calls": lib.QM_BY_SYSCALLS,
    "landlock": lib.QM_BY_LANDLOCK,
    "own-mounts": lib.QM_BY_MOUNTS,
}
ANY_OWNER, STRICT, UNCONFINED = (
    "any-owner",
    "strict",
    "unconfined",
)  # what a request may ask for (the last without a daemon only)
_FLAGS = {ANY_OWNER: lib.QM_ANY_OWNER, STRICT: lib.QM_STRICT}


def parts(bits: int) -> list[str]:
    """The names of the QM_BY_* in `bits`."""
    return [name for name, bit in PARTS.items() if bits & bit]


def flags(wanted: list[str]) -> int:
    """What struct qm_assign says of ANY_OWNER and STRICT."""
    return sum(_FLAGS[word] for word in set(wanted))
