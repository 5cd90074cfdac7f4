"""What this host's KVM is."""

from __future__ import annotations

from functools import cache

from quark.errors import UsageError


@cache
def hardware_kvm() -> bool:
    """Whether KVM uses the processor's own extension: it then shows in /proc/cpuinfo. The guest kernel's ring mode depends on it (ADR 1)."""
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("flags"):
                return bool({"vmx", "svm"} & set(line.split()))
    return False


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
