"""The options that describe a sandbox, shared by `run` and `snapshot create`."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # has no stubs; `signal` would be a third of a clone's start
import os

from quark.errors import UsageError
from quark.sizes import MEMORY_DEFAULT, Limits, check_disk, parse_disk, parse_limits, parse_memory, parse_slot
from qvisor.spec import Changes, SandboxSpec, parse_clone_volume, parse_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from quark.cli.options import Parsed

NAMES = {"--memory", "--disk", "--rootfs", "--env", "--cwd", "--volume", "--ring"}
PASSED_ON = ("PATH", "TERM", "LANG", "LC_ALL", "TZ")


def parse_env(values: list[str]) -> dict[str, str]:
    """`K=V` and `K` (copied from this process) to a mapping.

    Raises:
        UsageError: an empty name.
    """
    env = {}
    for text in values:
        name, has_value, value = text.partition("=")
        if not name:
            raise UsageError(f"--env {text!r} has no name: use K=V")
        if has_value:
            env[name] = value
        elif name in os.environ:
            env[name] = os.environ[name]
    return env


def ignored_signals() -> int:
    """The signals that this process was started to ignore (nohup, a shell's `&`), bit n-1 for signal n; those that Python ignores by itself are none."""
    own = {_signal.SIGPIPE, _signal.SIGXFSZ}
    numbers = [n for n in range(1, _signal.NSIG) if n not in own and _signal.getsignal(n) == _signal.SIG_IGN]
    return sum(1 << (n - 1) for n in numbers)


def build_spec(parsed: Parsed) -> SandboxSpec:
    """The sandbox that the options describe.

    Raises:
        UsageError, MemorySizeError: an option is wrong.
    """
    if not parsed.rest:
        raise UsageError("no program given: put it behind `--`, as in `quark run -- /bin/echo hello`")
    env = {k: os.environ[k] for k in PASSED_ON if k in os.environ}
    env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    env["HOME"] = "/root"
    env.update(parse_env(parsed.many("--env")))
    ring = parsed.one("--ring", "auto")
    if ring not in {"auto", "ring0", "ring3"}:
        raise UsageError(f"--ring {ring!r} is not one of auto, ring0, ring3")
    volumes = [parse_volume(v) for v in parsed.many("--volume")]
    memory = parse_memory(parsed.one("--memory")) if parsed.flag("--memory") else MEMORY_DEFAULT
    disk = parse_disk(parsed.one("--disk")) if parsed.flag("--disk") else 0
    check_disk(disk, memory)
    return SandboxSpec(
        argv=tuple(parsed.rest),
        env=env,
        cwd=parse_cwd(parsed) or "/",
        rootfs=os.path.abspath(parsed.one("--rootfs", "/")),  # who boots it may be elsewhere
        volumes=(*volumes, *(parse_slot(v) for v in parsed.many("--volume-slot"))),
        memory=memory,
        disk=disk,
        ring=ring,
        ignored_signals=ignored_signals(),
    )


def build_limits(parsed: Parsed) -> Limits:
    """What it may take of the host.

    Raises:
        UsageError: an option is wrong.
    """
    return parse_limits(*(parsed.one(name) for name in ("--cpus", "--pids", "--io")))


def build_changes(parsed: Parsed) -> Changes:
    """What the options give a clone of its own.

    Raises:
        UsageError, MemorySizeError: an option is wrong.
    """
    memory = parse_memory(parsed.one("--memory")) if parsed.flag("--memory") else 0
    disk = parse_disk(parsed.one("--disk")) if parsed.flag("--disk") else 0
    check_disk(disk, memory)
    rootfs = parsed.one("--rootfs")
    return Changes(
        parse_cwd(parsed),
        memory,
        tuple(parse_clone_volume(v) for v in parsed.many("--volume")),
        disk,
        os.path.abspath(rootfs) if rootfs else "",
        host_paths=parsed.flag("--host-paths"),
    )


def confinement_of(parsed: Parsed) -> list[str]:
    """How QVisor's process is to be confined (qvisor/confinement.py).

    Raises:
        UsageError: options that exclude each other.
    """
    wanted = {
        "--any-owner": "any-owner",
        "--require-confinement": "strict",
        "--unconfined": "unconfined",
        "--allow-set-id": "set-id",
    }
    found = [word for option, word in wanted.items() if parsed.flag(option)]
    if {"unconfined", "any-owner"} <= set(found) or {"unconfined", "strict"} <= set(found):
        raise UsageError("--unconfined goes with neither --any-owner nor --require-confinement")
    if parsed.flag("--volume-user"):
        from qvisor.owner import parse_user

        if "any-owner" in found:
            raise UsageError(
                "--any-owner does not go with --volume-user: one uses files of all users, the other those of one"
            )
        found.append(parse_user(parsed.one("--volume-user")))
    return found


def mode_of(mode: str, parsed: Parsed) -> str:
    """The mode of a session's request (docs/abi.md, "Session")."""
    return "+".join([mode, *confinement_of(parsed)])


def parse_cwd(parsed: Parsed) -> str:
    """The working directory, or nothing.

    Raises:
        UsageError: it is relative.
    """
    cwd = parsed.one("--cwd")
    if parsed.flag("--cwd") and not cwd.startswith("/"):
        raise UsageError(f"--cwd {cwd!r} is not an absolute path")
    return cwd
