"""The identity of an instance and the JSON document that its program reads from /dev/quark."""

from __future__ import annotations

import os

# The characters that JSON wants escaped in strings (RFC 8259, 7). Written out because importing json is a fifth of a clone's start.
ESCAPES = {i: f"\\u{i:04x}" for i in range(0x20)} | {ord('"'): '\\"', ord("\\"): "\\\\", 0x7F: "\\u007f"}


def new_generation() -> bytes:
    """A random (version 4) UUID as 16 bytes (RFC 9562)."""
    raw = bytearray(os.urandom(16))
    raw[6] = (raw[6] & 0x0F) | 0x40
    raw[8] = (raw[8] & 0x3F) | 0x80
    return bytes(raw)


def document(
    generation: bytes, *, clone: bool, args: list[str], env: dict[str, str], payload: str = "", cwd: str = ""
) -> bytes:
    """One line of JSON in UTF-8; the format is fixed (docs/abi.md, "/dev/quark")."""
    h = generation.hex()
    name = f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
    place = f', "cwd": {quote(cwd)}' if cwd else ""
    text = (
        f'{{"generation": "{name}", "clone": {"true" if clone else "false"}, "args": [{", ".join(map(quote, args))}], '
        f'"env": {{{", ".join(f"{quote(k)}: {quote(v)}" for k, v in env.items())}}}, "payload": {quote(payload)}{place}}}\n'
    )
    # Bytes of the command line that are no UTF-8 are surrogates here, and \\udcXX in JSON, as Python's json writes them.
    return text.encode("utf-8", "backslashreplace")


def quote(text: str) -> str:
    """A JSON string."""
    return f'"{text.translate(ESCAPES)}"'
