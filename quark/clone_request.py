"""The request for a clone as a list of strings (docs/abi.md, "Session"): made by the command, read by whoever restores it."""

from __future__ import annotations

from qvisor.spec import Changes


def clone_fields(
    name: str, prefetch: str, payload: str, args: list[str], env: dict[str, str], changes: Changes
) -> list[str]:
    """The request for a clone."""
    others = changes.to_strings()
    pairs = [text for pair in env.items() for text in pair]
    return ["clone", name, prefetch, payload, str(len(others)), *others, str(len(args)), *args, *pairs]


def unpack_clone(fields: list[str]) -> tuple[str, str, str, list[str], dict[str, str], Changes]:
    """Reverse `clone_fields`, of the fields behind `clone`."""
    name, prefetch, payload, count = fields[:4]
    at = 4 + int(count)
    changes, end = Changes.from_strings(fields[4:at]), at + 1 + int(fields[at])
    pairs = fields[end:]
    return name, prefetch, payload, fields[at + 1 : end], dict(zip(pairs[::2], pairs[1::2], strict=True)), changes
