"""Quark: a secure sandbox runtime that restores programs from snapshots of their warmed-up state.

`quark.connect()` and `quark.aio.connect()` are the SDK. It is loaded when it is first used: the command line needs none of it.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from quark import aio
    from quark.api import DeadlineError, Dependency, Result, SandboxState, Snapshot
    from quark.client import Client, Sandbox, connect
    from quark.errors import QuarkError
    from quark.functions import Call, FunctionChangedError, FunctionError

__all__ = [
    "Call",
    "Client",
    "DeadlineError",
    "Dependency",
    "FunctionChangedError",
    "FunctionError",
    "QuarkError",
    "Result",
    "Sandbox",
    "SandboxState",
    "Snapshot",
    "aio",
    "connect",
]
_HOMES = {
    "Client": "client",
    "Sandbox": "client",
    "connect": "client",
    "DeadlineError": "api",
    "Dependency": "api",
    "Call": "functions",
    "FunctionChangedError": "functions",
    "FunctionError": "functions",
    "Result": "api",
    "SandboxState": "api",
    "Snapshot": "api",
    "QuarkError": "errors",
}


def __getattr__(name: str) -> object:
    """Load what the SDK exports when it is asked for (PEP 562)."""
    import importlib

    if name == "aio":
        return importlib.import_module("quark.aio")
    if name in _HOMES:
        return getattr(importlib.import_module(f"quark.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'quark' has no attribute {name!r}")
