"""Inside a sandbox: say "capture me here" and learn what this clone is for. Outside of one, `ready()` returns a plain document at once."""

from __future__ import annotations

import json
import os
import sys
import uuid
from typing import TYPE_CHECKING, Any, NoReturn

from quark_guest.reseed import reseed

if TYPE_CHECKING:
    from collections.abc import Callable

    Hook = Callable[[dict[str, Any]], object]

__all__ = ["finish", "on_clone", "ready", "reseed"]
DEVICE = "/dev/quark"
_hooks: list[Hook] = []


def on_clone(hook: Hook) -> Hook:
    """Have `hook(document)` called in every clone, by `ready()`, after the generators are reseeded and before it returns; a decorator.

    Hooks run in the order in which they were registered, in the thread that called `ready()`. An exception leaves `ready()`, and the hooks
    behind it do not run: a clone that could not make itself another must not go on as if it had.
    """
    _hooks.append(hook)
    return hook


def ready(*, reseeding: bool = True) -> dict[str, Any]:
    """Offer this moment as the capture point; returns in the original and in every clone.

    In a clone the generators are seeded anew (`reseed`) unless `reseeding` is false, `os.environ` gets the variables and the process the
    working directory that the clone was given, and the hooks of `on_clone` run.

    Returns:
        The document of this instance: `generation` (UUID string), `clone` (bool), `args` (list), `env` (dict), `payload` (string), and `cwd`
        (string) if the clone was given one.

    Raises:
        OSError: the clone was given a `cwd` that is not there.
    """
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return {
            "generation": str(uuid.uuid4()),
            "clone": False,
            "args": sys.argv[1:],
            "env": dict(os.environ),
            "payload": "",
        }
    try:
        os.write(fd, b"ready\n")
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
    finally:
        os.close(fd)
    document: dict[str, Any] = json.loads(b"".join(parts))
    if document["clone"]:
        _become(document, reseeding=reseeding)
    else:
        # The device knows the whole command line, the interpreter's part of it included.
        document["args"] = sys.argv[1:]
    return document


def _become(document: dict[str, Any], *, reseeding: bool) -> None:
    """Make this process the instance that the document describes."""
    if reseeding:
        reseed()
    os.environ.update(document["env"])
    if "cwd" in document:
        os.chdir(document["cwd"])
    for hook in _hooks:
        hook(document)


def finish(status: int = 0) -> NoReturn:
    """End a clone that has answered, at once: standard output and error are flushed, exit handlers do not run.

    The interpreter's own end visits every object, so it copies most pages that the clone shares; for an application with numpy that takes
    several times as long as the answer did.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
