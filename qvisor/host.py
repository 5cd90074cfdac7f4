"""What this host's KVM is."""

from __future__ import annotations

from quark.errors import UsageError

_known: list[bool] = []  # functools.cache would cost each start of the command 4 ms, for its own imports


def hardware_kvm() -> bool:
    """Whether KVM uses the processor's own extension: it then shows in /proc/cpuinfo. The guest kernel's ring mode depends on it (ADR 1)."""
    if not _known:
        with open("/proc/cpuinfo") as f:
            flags = next((line for line in f if line.startswith("flags")), "")
        _known.append(not {"vmx", "svm"}.isdisjoint(flags.split()))
    return _known[0]


def check_ring(ring: str) -> None:
    """Refuse a mode that the guest kernel cannot run in here: where SYSCALL lands decides (ADR 1).

    Raises:
        UsageError: it is the other one.
    """
    if ring == "auto" or (ring == "ring0") == hardware_kvm():
        return
    kind, mode = ("hardware", "ring0") if hardware_kvm() else ("software", "ring3")
    raise UsageError(
        f"ring {ring} is not possible: on this host's {kind} KVM the guest kernel runs in {mode}; leave --ring out"
    )
