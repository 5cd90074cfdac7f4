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
