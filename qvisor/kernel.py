"""The guest kernel image that belongs to this installation."""

from __future__ import annotations

import os

from quark.errors import KernelImageError

PATH = os.path.join(os.path.dirname(__file__), "data", "qkernel.elf")


def load() -> bytes:
    """The ELF file's bytes.

    Raises:
        KernelImageError: not there.
    """
    with open(open_file(), "rb") as f:
        return f.read()


def open_file() -> int:
    """Descriptor of the ELF file.

    Raises:
        KernelImageError: not there.
    """
    try:
        return os.open(PATH, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise KernelImageError(f"guest kernel {PATH}: {e.strerror}; reinstall quark") from e


def build_id(elf: bytes) -> str:
    """The SHA-1 of the GNU build-id note, in hex (ELF gABI, notes; `ld --build-id`).

    Raises:
        KernelImageError: there is none.
    """
    at = elf.find(b"\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00")
    if at < 0 or len(elf) < at + 36:
        raise KernelImageError(f"guest kernel {PATH} has no build id; reinstall quark")
    return elf[at + 16 : at + 36].hex()
