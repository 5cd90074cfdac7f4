"""Scratch directories: made alike for both runs, and compared before and after to see that the host's was left alone."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def fill(directory: Path) -> None:
    """Lays the folder `lower` that the overlay tests change."""
    lower = directory / "lower"
    for folder in ("sub/deeper", "empty", "sub2", "sub3", "many"):
        (lower / folder).mkdir(parents=True)
    for name in ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k2"):
        (lower / f"{name}.txt").write_text(f"content of {name}\n")
    (lower / "sub/deeper/k.txt").write_text("content of k\n")
    (lower / "to-j").symlink_to("j.txt")
    for name in ("sub2/one", "sub2/two", "sub3/x"):
        (lower / name).write_text("x\n")
    for number in range(1, 301):
        (lower / "many" / str(number)).write_text(f"{number}\n")
    (lower / "large.bin").write_bytes(bytes(ord("a") + n % 23 for n in range(150000)))


def make(directory: Path, *, tree: bool) -> Path:
    """A fresh directory, with the tree of `fill` when asked for."""
    remove(directory)
    directory.mkdir(parents=True)
    if tree:
        fill(directory)
    return directory


def remove(directory: Path) -> None:
    """Removes it, including what a test left without permissions."""
    if not directory.exists():
        return
    for folder, _, _ in os.walk(directory):
        os.chmod(folder, 0o700)
    shutil.rmtree(directory)


def fingerprint(directory: Path) -> dict[str, tuple[object, ...]]:
    """What a change of the directory would show in: names, types, modes, sizes, times, contents."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content = (
            os.readlink(path)
            if path.is_symlink()
            else hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else ""
        )
        found[str(path.relative_to(directory))] = (
            status.st_mode,
            status.st_size,
            status.st_mtime_ns,
            status.st_nlink,
            content,
        )
    return found
