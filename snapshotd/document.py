"""The checks of a snapshot's document. It may come from elsewhere, by an import: data, of which nothing is believed."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from quark.sizes import MEMORY_MAX, SLOT, is_slot_name
from quark.store_errors import CorruptBlobError
from qvisor.spec import MOUNTS_MAX, NAME_SHOWN, SandboxSpec
from snapshotd.files import are_possible

ID_MAX = 1 << 32
COUNT_MAX = 1 << 63
FILES_MAX = 1 << 17
FILE_MAX = 1 << 62
RINGS = ("auto", "ring0", "ring3")


def _require(good: bool, what: str) -> None:
    if not good:
        raise CorruptBlobError(f"the snapshot's document is malformed: {what}")


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which no file name is
        return False
    return True


def _is_number(value: object, end: int, first: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and first <= value < end


def _is_memory(value: object) -> bool:
    return _is_number(value, MEMORY_MAX + 1, SLOT) and value % SLOT == 0  # type: ignore[operator]  # a number, then


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def check_spec(spec: Any) -> None:
    """Check the sandbox that a document describes.

    Raises:
        CorruptBlobError: it is none, or has more than one.
    """
    # A snapshot from before `reseed` has the library in its environment.
    _require(isinstance(spec, dict) and {*spec, "reseed"} == set(SandboxSpec.__slots__), "spec")
    _require(isinstance(spec.get("reseed", False), bool), "spec.reseed")
    for key in ("cwd", "rootfs", "hostname"):
        _require(_is_text(spec[key]), f"spec.{key}")
    _require(spec["ring"] in RINGS, "spec.ring")
    _require(_is_texts(spec["argv"]), "spec.argv")
    env = spec["env"]
    _require(isinstance(env, dict) and _is_texts([*env, *env.values()]), "spec.env")
    _require(_is_memory(spec["memory"]), "spec.memory")
    for key, limit in (("uid", ID_MAX), ("gid", ID_MAX), ("disk", MEMORY_MAX + 1), ("ignored_signals", 1 << 64)):
        _require(_is_number(spec[key], limit), f"spec.{key}")
    volumes = spec["volumes"]
    _require(isinstance(volumes, list) and len(volumes) <= MOUNTS_MAX, "spec.volumes")
    for volume in volumes:
        _require(
            isinstance(volume, list)
            and len(volume) in {3, 5}
            and _is_texts(volume[:2])
            and isinstance(volume[2], bool)
            and (len(volume) == 3 or (_is_text(volume[3]) and is_slot_name(volume[3]) and isinstance(volume[4], bool))),
            "spec.volumes",
        )


def check_file(values: Any) -> None:
    """Check what a document says of a file that the snapshot depends on (snapshotd.files.File).

    Raises:
        CorruptBlobError: it makes no sense.
    """
    _require(isinstance(values, list) and len(values) == 15 and _is_texts(values[:2]), "files")
    name, sha256, dev, ino, mtime, ctime, size, guest_ino, guest_mtime, guest_ctime, stored, flags, *rest = values
    _require(bool(name) and len(sha256) in {0, 64} and not set(sha256) - set("0123456789abcdef"), "files")
    _require(all(_is_number(v, 1 << 64) for v in (dev, ino, guest_ino)), "files")
    _require(all(_is_number(v, 1 << 63, -1 << 63) for v in (mtime, ctime, guest_mtime, guest_ctime)), "files")
    _require(_is_number(size, FILE_MAX) and _is_number(stored, FILE_MAX), "files")
    _require(_is_number(flags, 8) and all(_is_number(v, 1 << 32) for v in rest), "files")


def check_document(data: Any, keys: set[str]) -> None:
    """Check a document that has to have just these keys; its binary parts become bytes.

    Raises:
        CorruptBlobError: naming the first part that is not as it has to be.
    """
    _require(isinstance(data, dict), "it is no object")
    for key in sorted(set(data) ^ keys):
        _require(False, f"{key} is missing" if key in keys else f"{key[:NAME_SHOWN]!a} is unknown")
    for key in ("cpu_state", "recipes"):
        try:
            data[key] = base64.b64decode(data[key], validate=True)
        except (TypeError, ValueError, binascii.Error):
            _require(False, key)
    for key in ("kernel", "trigger"):
        _require(_is_text(data[key]), key)
    _require(_is_number(data["ring"], 3, 1), "ring")
    _require(_is_texts(data["cpu_flags"]), "cpu_flags")
    _require(_is_memory(data["ram_bytes"]), "ram_bytes")
    _require(isinstance(data["files"], list) and len(data["files"]) <= FILES_MAX, "files")
    for values in data["files"]:
        check_file(values)
    stats = data["stats"]
    _require(isinstance(stats, dict) and {"ram_used", "pause_us"} <= set(stats), "stats")
    _require(all(_is_number(value, COUNT_MAX) for value in stats.values()), "stats")
    check_spec(data["spec"])
    _require(are_possible(data["recipes"], [True, *(v[2] for v in data["spec"]["volumes"])]), "recipes")
