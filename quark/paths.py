"""Where state lives: one directory, everything below it; and where its daemon listens."""

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


def daemon_socket(root: str | None, target: str) -> tuple[str, bool]:
    """Path of the daemon's gRPC socket, and whether it was asked for: by `target` (--daemon), or QUARK_DAEMON.

    Raises:
        UsageError: it is no path.
    """
    asked = target or os.environ.get("QUARK_DAEMON", "")
    if not asked:
        return os.path.join(state_root(root), "run", "snapshotd.sock"), False
    path = asked.removeprefix("unix:")
    if "/" not in path or ("://" in path and not path.startswith("///")):
        raise UsageError(
            f"daemon {asked!r} is not the path of a unix socket, which the command line needs; use the SDK for TCP"
        )
    return os.path.abspath(path), True
