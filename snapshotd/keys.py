"""Where the key of an encrypted domain comes from: `file:PATH` or `command:COMMAND`, never the key itself on a command line."""

from __future__ import annotations

import os

from quark.errors import KeySourceError

KEY_BYTES = 32
SECONDS = 30


def load_key(source: str) -> bytes | None:
    """The key: 32 bytes, or 64 hexadecimal digits. None for the empty source.

    Raises:
        KeySourceError: it cannot be had, or is no key.
    """
    if not source:
        return None
    kind, _, where = source.partition(":")
    if kind == "file":
        try:
            with open(os.path.expanduser(where), "rb") as f:
                raw = f.read(1024)
        except OSError as e:
            raise KeySourceError(f"key {source}: {e.strerror}; give a readable file") from e
    elif kind == "command":
        import subprocess

        try:
            done = subprocess.run(where, shell=True, capture_output=True, timeout=SECONDS, check=False)  # noqa: S602 - the operator's own command
        except subprocess.TimeoutExpired as e:
            raise KeySourceError(f"key {source}: no answer within {SECONDS} s") from e
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise KeySourceError(f"key {source}: the command ended with status {done.returncode}: {last}")
        raw = done.stdout
    else:
        raise KeySourceError(f"key {source!r} is neither file:PATH nor command:COMMAND")
    text = raw.strip()
    if len(raw) == KEY_BYTES:
        return raw
    if len(text) == 2 * KEY_BYTES:
        try:
            return bytes.fromhex(text.decode("ascii"))
        except ValueError:
            pass
    raise KeySourceError(
        f"key {source}: it has {len(raw)} bytes; a key is {KEY_BYTES} bytes or {2 * KEY_BYTES} hex digits"
    )
