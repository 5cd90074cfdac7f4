"""Where things are under the store's root directory: names, the version file (docs/store-format.md, section 2)."""

from __future__ import annotations

import hashlib
import os

from snapshotd.store import durable
from snapshotd.store.errors import BadNameError, StoreVersionError

VERSION = 1
PAGE = 4096
_PREFIX = "quark-store "
_ALPHANUMERIC = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_NAME = _ALPHANUMERIC | frozenset("._-")
_NAME_LENGTH = 128


def new_id() -> bytes:
    """16 bytes: a version 4 UUID (RFC 9562, section 5.4)."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)


def derived_id(data: bytes) -> bytes:
    """The id of what is made of `data`, the same each time: a version 8 UUID (RFC 9562, section 5.8)."""
    raw = bytearray(hashlib.blake2b(data, digest_size=16).digest())
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)


def check_name(name: str, what: str) -> None:
    """Refuse a name that is not letters, digits, `.`, `_`, `-`, or that has more than 128 characters; `what` it names goes in the message."""
    if not name or len(name) > _NAME_LENGTH or name[0] not in _ALPHANUMERIC or not _NAME.issuperset(name):
        shown = ascii(name if len(name) <= _NAME_LENGTH else name[:_NAME_LENGTH] + "...")
        raise BadNameError(
            f"{what} name {shown}: use 1 to {_NAME_LENGTH} letters, digits, '.', '_', '-', with a letter or digit first"
        )


class DomainPaths:
    """Paths of one sharing domain, packs and maps excepted (backend.py). Strings: importing pathlib costs the restore path more than it gives."""

    __slots__ = ("catalogue", "directory", "lock", "readers")

    def __init__(self, root: str, domain: str) -> None:
        self.directory = os.path.join(root, "domains", domain)
        self.catalogue = os.path.join(self.directory, "catalogue.db")
        self.lock = os.path.join(self.directory, "lock")
        self.readers = os.path.join(self.directory, "readers")


def temporary(directory: str) -> str:
    """A name for a file that is being written in `directory`."""
    return f"{directory}/tmp-{new_id().hex()}"


def make_root(root: str) -> None:
    """Make the state directory, with those above it that are missing, unless it is there.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        os.makedirs(os.path.dirname(root), exist_ok=True)
    except OSError as error:
        raise durable.named(error, root) from error
    durable.make_directory(root)


def open_root(root: str, *, create: bool) -> bool:
    """Check that `root` is a store of this version; with `create`, make it one if there is none. Returns whether there is one.

    Raises:
        StoreVersionError: it is a store of another version.
    """
    root = os.path.abspath(root)
    path = os.path.join(root, "VERSION")
    text = _read_version(path)
    if text is None:
        if os.path.isdir(os.path.join(root, "domains")):
            # Making a directory and its VERSION is not one step; the domains come after both.
            raise StoreVersionError(f"{path}: the file is missing, so the store's version is unknown; restore it")
        if not create:
            return False
        make_root(root)
        text = f"{_PREFIX}{VERSION}\n"
        # Two processes may both do this: they write the same bytes, and rename is atomic.
        durable.publish(path, temporary(root), text.encode())
    _check_version(path, text)
    if create:
        durable.make_directory(os.path.join(root, "domains"))
    return True


def _read_version(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(64).decode("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise durable.named(error, path) from error


def _check_version(path: str, text: str) -> None:
    number = text.removeprefix(_PREFIX).removesuffix("\n")
    if not text.startswith(_PREFIX) or not text.endswith("\n") or not number.isdecimal():
        raise StoreVersionError(
            f"{path}: {text!r} names no store version; restore the file: it should read '{_PREFIX}N'"
        )
    if int(number) > VERSION:
        raise StoreVersionError(
            f"{path}: the store has version {number}, newer than version {VERSION} of this program; upgrade quark"
        )
    if int(number) < VERSION:
        raise StoreVersionError(
            f"{path}: the store has version {number}, older than version {VERSION} of this program; "
            "export its snapshots with the quark that made it and import them into a new store"
        )
