"""The metadata document that a snapshot carries, and the gate that it has to pass before it is restored on this host."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from quark.errors import HostMismatchError, KernelMismatchError
from qvisor.host import hardware_kvm
from snapshotd.document import check_document

FORMAT = 2


@dataclass(frozen=True)
class Metadata:
    """What a snapshot knows of its machine. `ring` is 1 for ring0 mode, 2 for ring3 mode; `ram_bytes` is the RAM present at the capture."""

    kernel: str
    ring: int
    cpu_flags: list[str]
    spec: dict[str, Any]
    ram_bytes: int
    cpu_state: bytes
    recipes: bytes
    files: list[Any]  # snapshotd.files.File.to_json of each
    stats: dict[str, int]
    trigger: str

    @property
    def self_contained(self) -> bool:
        """Whether the snapshot contains the files that it depends on."""
        from snapshotd.files import KEPT, File

        return all(File.from_json(f).flags & KEPT for f in self.files)

    def dump(self) -> bytes:
        """JSON, binary parts in base64."""
        data = dict(self.__dict__, format=FORMAT)
        for key in ("cpu_state", "recipes"):
            data[key] = base64.b64encode(data[key]).decode()
        return json.dumps(data, sort_keys=True).encode()

    @staticmethod
    def load(raw: bytes) -> Metadata:
        """Reverse `dump`.

        Raises:
            KernelMismatchError: written by a version of quark with another format.
            CorruptBlobError: not a document.
        """
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict) and data.pop("format", None) != FORMAT:
            raise KernelMismatchError("the snapshot was made by another version of quark; create it again")
        check_document(data, {field.name for field in fields(Metadata)})
        return Metadata(**data)


@cache
def host_cpu_flags() -> list[str]:
    """Instruction set extensions of this host that programs choose code by (/proc/cpuinfo)."""
    wanted = (
        "sse",
        "ssse",
        "avx",
        "amx",
        "bmi",
        "fma",
        "f16c",
        "popcnt",
        "aes",
        "pclmul",
        "sha_ni",
        "vaes",
        "vpclmul",
        "gfni",
        "movbe",
        "adx",
        "fsgsbase",
        "erms",
        "fsrm",
        "rdrand",
        "rdseed",
        "xsave",
        "lzcnt",
        "abm",
    )
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("flags"):
                return sorted(w for w in line.split(":", 1)[1].split() if w.startswith(wanted))
    return []


def check_host(name: str, meta: Metadata, kernel_id: str) -> None:
    """Refuse a snapshot that this host cannot run faithfully.

    Raises:
        KernelMismatchError: it contains another build of the guest kernel.
        HostMismatchError: another kind of KVM, or the program may have chosen instructions that this processor lacks.
    """
    if meta.kernel != kernel_id:
        raise KernelMismatchError(
            f"snapshot {name!r} contains guest kernel {meta.kernel[:12]}, installed is {kernel_id[:12]}; create the snapshot again with this version"
        )
    ring = 0 if meta.ring == 1 else 3  # enum qk_ring
    if (ring == 0) != hardware_kvm():
        kinds = ("hardware", "software") if ring == 0 else ("software", "hardware")
        raise HostMismatchError(
            f"snapshot {name!r} was made on {kinds[0]} KVM, this host has {kinds[1]} KVM; create it on a host like this one"
        )
    missing = sorted(set(meta.cpu_flags) - set(host_cpu_flags()))
    if missing:
        raise HostMismatchError(
            f"snapshot {name!r} needs processor features that this host lacks: {' '.join(missing)}; create it on a host like this one"
        )
