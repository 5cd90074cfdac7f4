"""Sizes and volumes as people write them: what the command line, the SDK and QVisor read alike."""

from __future__ import annotations

from quark.errors import MemorySizeError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SLOT = 64 << 20  # QK_SLOT_SIZE: RAM comes in slots of this many bytes
MEMORY_DEFAULT = 1 << 30
MIB = 1 << 20
MEMORY_MAX = 32 << 30
VOLUME_STRINGS = 4
CPUS_MIN, CPUS_MAX = 0.01, 4096.0  # the kernel's smallest quota is 1 ms of 100
PIDS_MIN, PIDS_MAX = 16, 1 << 22  # QVisor has a handful of threads, and a capture a process more
IO_MIN, IO_MAX = 1 << 16, 1 << 40
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Volume:
    """A host file or directory that the guest sees at `target`.

    A volume with a `slot` (a name) is a place that every clone fills with a directory of its own; with no source it is an empty directory.
    """

    __slots__ = ("optional", "read_only", "slot", "source", "target")

    def __init__(
        self, source: str, target: str, read_only: bool = False, slot: str = "", optional: bool = False
    ) -> None:
        self.source = source
        self.target = target
        self.read_only = read_only
        self.slot = slot
        self.optional = optional

    def to_list(self) -> list[Any]:
        """As JSON types; the constructor's arguments."""
        return [self.source, self.target, self.read_only, *((self.slot, self.optional) if self.slot else ())]

    def to_strings(self) -> list[str]:
        """As VOLUME_STRINGS strings."""
        return [self.source, self.target, "ro" if self.read_only else "rw", self.slot + "?" * self.optional]

    @staticmethod
    def from_strings(strings: list[str]) -> list[Volume]:
        """The volumes whose strings these are."""
        n = VOLUME_STRINGS
        return [
            Volume(s, t, m == "ro", slot.rstrip("?"), slot.endswith("?"))
            for s, t, m, slot in zip(strings[::n], strings[1::n], strings[2::n], strings[3::n], strict=True)
        ]


class Limits:
    """What a sandbox may take of the host: processors (1.5), processes and threads, bytes a second read and as many written. 0: no limit."""

    __slots__ = ("cpus", "io", "pids")

    def __init__(self, cpus: float = 0, pids: int = 0, io: int = 0) -> None:
        self.cpus = cpus
        self.pids = pids
        self.io = io

    def __bool__(self) -> bool:
        return bool(self.cpus or self.pids or self.io)

    def to_string(self) -> str:
        """As one field."""
        return f"{self.cpus} {self.pids} {self.io}"

    @staticmethod
    def from_string(text: str) -> Limits:
        """Reverse `to_string`.

        Raises:
            ValueError: it is none.
            UsageError: a limit is out of range.
        """
        cpus, pids, io = text.split(" ")
        limits = Limits(float(cpus), int(pids), int(io))
        for name, message in limits.problems():
            raise UsageError(f"{name}: {message}")
        return limits

    def problems(self) -> list[tuple[str, str]]:
        """(name, what is wrong) of those out of range."""
        found = []
        if self.cpus and not CPUS_MIN <= self.cpus <= CPUS_MAX:
            found.append(("cpus", f"{self.cpus} is out of range; give {CPUS_MIN} to {CPUS_MAX} processors"))
        if self.pids and not PIDS_MIN <= self.pids <= PIDS_MAX:
            found.append(("pids", f"{self.pids} is out of range; give {PIDS_MIN} to {PIDS_MAX}"))
        if self.io and not IO_MIN <= self.io <= IO_MAX:
            found.append(("io", f"{self.io} is out of range; give {IO_MIN} to {IO_MAX} bytes a second"))
        return found


def parse_limits(cpus: str, pids: str, io: str) -> Limits:
    """Of texts, empty for those that are not wanted: `1.5`, `64`, `10M`.

    Raises:
        UsageError: no number, or out of range.
    """
    unit = io[-1:].upper() if not io[-1:].isdigit() else ""
    try:
        limits = Limits(float(cpus or 0), int(pids or 0), int(io[: len(io) - len(unit)] or 0) * UNITS[unit])
        wrong = [
            name
            for name, text, value in (("cpus", cpus, limits.cpus), ("pids", pids, limits.pids), ("io", io, limits.io))
            if text and not value
        ]
    except (KeyError, ValueError):
        wrong = ["cpus, --pids or --io"]
    if wrong:
        raise UsageError(f"--{wrong[0]}: give a number above 0, as in --cpus 1.5 --pids 64 --io 10M (bytes a second)")
    for name, message in limits.problems():
        raise UsageError(f"--{name} {message}")
    return limits


def parse_memory(text: str) -> int:
    """Bytes of `512M`, `4G`, `131072K`; rounded up to whole 64 MiB slots.

    Raises:
        MemorySizeError: not a size, less than 64 MiB or more than 32 GiB.
    """
    unit = text[-1:].upper() if not text[-1:].isdigit() else ""
    number = text[: len(text) - len(unit)]
    if not number.isdigit() or unit not in UNITS:
        raise MemorySizeError(f"memory size {text!r} is not a number with K, M or G behind it: use for example 512M")
    size = int(number) * UNITS[unit]
    if not SLOT <= size <= MEMORY_MAX:
        raise MemorySizeError(f"memory size {text} is out of range: a sandbox has 64M to 32G")
    return -(-size // SLOT) * SLOT


def parse_disk(text: str) -> int:
    """Bytes of `512M`, `4G`, in whole MiB.

    Raises:
        MemorySizeError: not a size, less than 1 MiB or more than 32 GiB.
    """
    unit = text[-1:].upper() if not text[-1:].isdigit() else ""
    number = text[: len(text) - len(unit)]
    if not number.isdigit() or unit not in UNITS:
        raise MemorySizeError(f"disk size {text!r} is not a number with K, M or G behind it: use for example 512M")
    size = int(number) * UNITS[unit]
    if not MIB <= size <= MEMORY_MAX:
        raise MemorySizeError(f"disk size {text} is out of range: 1M to 32G")
    return size // MIB * MIB


def check_disk(disk: int, memory: int) -> None:
    """Files that a sandbox writes are in its memory: refuse a limit that is beyond it. Bytes; 0: the default, which fits.

    Raises:
        MemorySizeError: more disk than memory.
    """
    if memory and disk > memory:
        raise MemorySizeError(
            f"disk size {disk // MIB}M is more than the memory, {memory // MIB}M, which has the files: give --memory as well"
        )


def parse_slot(text: str) -> Volume:
    """Read `NAME:GUEST[:ro][:optional]`.

    Raises:
        UsageError: malformed.
    """
    name, _, rest = text.partition(":")
    target, *flags = rest.split(":")
    if not is_slot_name(name) or not target.startswith("/") or not set(flags) <= {"ro", "optional"}:
        raise UsageError(
            f"volume slot {text!r} is not NAME:/GUESTPATH[:ro][:optional]; NAME has letters, digits, _ and -"
        )
    return Volume("", target, "ro" in flags, name, "optional" in flags)


def is_slot_name(text: str) -> bool:
    """Letters, digits, _ and -."""
    return text.isascii() and text.replace("_", "a").replace("-", "a").isalnum()
