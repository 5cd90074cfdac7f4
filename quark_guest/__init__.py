"""Inside a sandbox: say "capture me here" and learn what this clone is for. Outside of one, `ready()` returns a plain document at once."""

from __future__ import annotations

import json
import os
import sys
import uuid
from typing import Any, NoReturn

DEVICE = "/dev/quark"


def ready() -> dict[str, Any]:
    """Offer this moment as the capture point; returns in the original and in every clone.

    Returns:
        The document of this instance: `generation` (UUID string), `clone` (bool), `args` (list), `env` (dict), `payload` (string).
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
    if not document["clone"]:
        # The device knows the whole command line, the interpreter's part of it included.
        document["args"] = sys.argv[1:]
    return document


def finish(status: int = 0) -> NoReturn:
    """End a clone that has answered, at once: standard output and error are flushed, exit handlers do not run.

    The interpreter's own end visits every object, so it copies most pages that the clone shares; for an application with numpy that takes
    several times as long as the answer did.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
