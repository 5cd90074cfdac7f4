"""`quark doctor`: says what this host can do, and what to do about what it cannot."""

from __future__ import annotations

import ctypes
import json
import os
from dataclasses import asdict, dataclass

from quark.cli.options import none
from quark.errors import QuarkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from quark.cli.context import Context
    from quark.cli.options import Parsed

SANDBOX_SECONDS = 30.0  # for one to boot


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `needed` when nothing works without it."""

    what: str
    ok: bool
    detail: str
    advice: str = ""
    needed: bool = True


def main(context: Context, parsed: Parsed) -> int:
    """Print the findings; returns the exit status."""
    none(parsed, context.command)
    findings = [
        processor(),
        kvm(),
        guest_kernel(),
        *sandbox(),
        userfaultfd(),
        memory(),
        limits(),
        state(context.root),
        daemon(context),
    ]
    if context.json:
        print(json.dumps([asdict(f) for f in findings]))
    else:
        for f in findings:
            print(f"{'ok' if f.ok else 'NO' if f.needed else '--':<3} {f.what:<14} {f.detail}")
            if f.advice:
                print(f"{'':<18} {f.advice}")
    return 0 if all(f.ok for f in findings if f.needed) else 1


def processor() -> Finding:
    """Architecture, model and virtualisation flags."""
    machine = os.uname().machine
    if machine != "x86_64":
        return Finding("processor", ok=False, detail=f"{machine}: Quark runs on x86-64 only")
    model, flags = "unknown", set[str]()
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() == "flags":
                flags = set(value.split())
                break
    extension = "vmx" if "vmx" in flags else "svm" if "svm" in flags else "no vmx or svm: KVM here is emulated"
    return Finding("processor", ok=True, detail=f"{model}, {os.cpu_count()} CPUs, {extension}")


def kvm() -> Finding:
    """/dev/kvm and its API version (Documentation/virt/kvm/api.rst, 4.1)."""
    import fcntl

    from qvisor.machine import open_kvm

    try:
        fd = open_kvm()
    except QuarkError as e:
        what, _, advice = str(e).partition("; ")
        return Finding("kvm", ok=False, detail=what, advice=advice)
    try:
        version = fcntl.ioctl(fd, 0xAE00, 0)  # KVM_GET_API_VERSION
    finally:
        os.close(fd)
    return Finding("kvm", ok=version == 12, detail=f"/dev/kvm, API version {version}")


def guest_kernel() -> Finding:
    """The kernel that came with this installation."""
    from qvisor import kernel

    try:
        elf = kernel.load()
    except QuarkError as e:
        return Finding("guest kernel", ok=False, detail=str(e), advice="install Quark again, or run make")
    return Finding("guest kernel", ok=True, detail=f"QKernel, {len(elf) >> 10} KiB, build {kernel.build_id(elf)[:16]}")


def sandbox() -> list[Finding]:
    """Boots a sandbox, up to a capture point: which ring mode is in force tells what kind of KVM this is; and how its process is confined."""
    from qvisor._native import lib
    from qvisor.spec import SandboxSpec
    from snapshotd.attended import Attended
    from snapshotd.trigger import Trigger

    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    spec = SandboxSpec(argv=("/bin/sh", "-c", "echo ready >/dev/quark"))
    trigger = Trigger("file", timeout=SANDBOX_SECONDS)
    try:
        with Attended(spec, trigger, "", stdio=(null, null, null), signals=False) as program:
            ring = program.machine().ring
            confined = confinement(program.confined_by)
    except QuarkError as e:
        return [Finding("sandbox", ok=False, detail=str(e))]
    finally:
        os.close(null)
    if ring == lib.QK_RING_3:
        found = Finding(
            "sandbox",
            ok=True,
            detail="works; software KVM: the guest kernel runs in ring 3, and exits are slow",
            advice="isolation inside the sandbox is weaker here (README, Limits); hardware KVM is what production wants",
        )
    else:
        found = Finding("sandbox", ok=True, detail="works; hardware KVM: the guest kernel runs in ring 0")
    return [found, *confined]


def confinement(confined_by: list[str]) -> list[Finding]:
    """What a sandbox's process is confined by here (docs/threat-model.md)."""
    from qvisor.confinement import PARTS

    return [
        Finding("confined by", ok=name in confined_by, detail=f"{name}: {what}", needed=False)
        for name, (_, what) in PARTS.items()
    ]


def userfaultfd() -> Finding:
    """Needed to restore snapshots lazily (man 2 userfaultfd)."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(323, os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0 and os.access("/dev/userfaultfd", os.R_OK | os.W_OK):
        return Finding("userfaultfd", ok=True, detail="by /dev/userfaultfd")
    if fd < 0:
        return Finding(
            "userfaultfd",
            ok=False,
            detail=os.strerror(ctypes.get_errno()),
            advice="set vm.unprivileged_userfaultfd=1, or give access to /dev/userfaultfd; cold runs work without it",
        )
    os.close(fd)
    return Finding("userfaultfd", ok=True, detail="by system call")


def memory() -> Finding:
    """What is free for guests."""
    with open("/proc/meminfo") as lines:
        available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return Finding(
        "memory", ok=available > 256 << 10, detail=f"{available >> 10} MiB available", advice="", needed=False
    )


def limits() -> Finding:
    """What control groups this process may make: --cpus, --pids, --io, and a limit of the host's memory for the daemon's sandboxes."""
    from qvisor import cgroup

    host = cgroup.find()
    reasons: dict[str, list[str]] = {}
    for name, why in host.missing.items():
        reasons.setdefault(why, []).append(name)
    lacking = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
    old = any(t.controllers == ("io",) and not t.unified for t in host.trees)
    return Finding(
        "limits",
        ok=not host.missing,
        detail=f"control groups {host.describe()}",
        advice=lacking or ("version 1 limits no writes that wait in the page cache" if old else ""),
        needed=False,
    )


def state(path: str) -> Finding:
    """The directory that snapshots live in."""
    at = path
    while not os.path.exists(at):
        at = os.path.dirname(at)
    writable = os.access(at, os.W_OK | os.X_OK)
    free = os.statvfs(at)
    return Finding(
        "state",
        ok=writable,
        detail=f"{path}{'' if os.path.isdir(path) else ' (made when first used)'}, {free.f_bavail * free.f_frsize >> 30} GiB free",
        advice="" if writable else "choose another directory with --root or QUARK_ROOT",
    )


def daemon(context: Context) -> Finding:
    """Whether one runs for the state directory. Nothing here needs one."""
    try:
        sock, path = context.connect()
    except QuarkError as e:
        what, _, advice = str(e).partition("; ")
        return Finding("daemon", ok=False, detail=what, advice=advice, needed=False)
    if sock is None:
        return Finding(
            "daemon", ok=False, detail="none runs for this state directory", advice="snapshotd serves it", needed=False
        )
    sock.close()
    return Finding("daemon", ok=True, detail=f"answers at {path}", needed=False)
