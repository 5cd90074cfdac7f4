"""Where state lives: one directory, everything below it."""

from __future__ import annotations

import os

from quark.errors import UsageError


def state_root(root: str | None) -> str:
    """The directory given by `--root`, else QUARK_ROOT, else the usual one for system services or for the user (XDG base directories).

    Raises:
        UsageError: it exists and is no directory.
    """
    path = root or os.environ.get("QUARK_ROOT")
    if not path:
        data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
        path = "/var/lib/quark" if os.geteuid() == 0 else os.path.join(data, "quark")
    if os.path.exists(path) and not os.path.isdir(path):
        raise UsageError(f"state directory {path} is not a directory; choose another with --root or QUARK_ROOT")
    return os.path.abspath(path)
