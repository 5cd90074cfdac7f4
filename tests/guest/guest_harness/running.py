"""Runs a case natively and in the sandbox, and says how the two differ."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import os
import resource
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from . import scratch
from .building import BUILD, path_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .cases import Case

# The whole environment of every program, in both runs, besides the case's own variables.
ENVIRONMENT = (
    ("HOME", "/tmp"),
    ("LANG", "C.UTF-8"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("PYTHONHASHSEED", "0"),
    ("TZ", "UTC"),
)
INTERPRETERS = {".py": ("/usr/bin/python3.11", sys.executable), ".sh": ("/bin/sh",)}


class CaseFailed(AssertionError):  # noqa: N818 - a test's verdict
    """The case failed; the message says how and how to run it by hand."""


class CaseSkipped(Exception):  # noqa: N818 - a test's verdict
    """The case cannot run here; the message says why."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended. status: 0 to 255, 128 + N for signal N."""

    command: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes


def prepare() -> None:
    """Keeps native programs that die of a signal from writing core files."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


@functools.cache
def _imports_numpy(interpreter: str) -> bool:
    return subprocess.run([interpreter, "-c", "import numpy"], capture_output=True, check=False).returncode == 0


def command_of(case: Case, build: Path = BUILD) -> tuple[str, ...]:
    """The program and its arguments, without the sandbox. Raises CaseSkipped when no interpreter will do."""
    path = path_of(case, build)
    if case.link:
        return (str(path), *case.args)
    for interpreter in INTERPRETERS[path.suffix]:
        if os.access(interpreter, os.X_OK) and (not case.numpy or _imports_numpy(interpreter)):
            return (interpreter, str(path), *case.args)
    raise CaseSkipped(f"no interpreter for {path.name}" + (" has numpy" if case.numpy else ""))


def run(command: Sequence[str], directory: Path, env: dict[str, str], stdin: bytes | None, timeout: float) -> Outcome:
    """Runs a command to its end in a session of its own; kills that session and raises CaseFailed after `timeout` seconds."""
    with subprocess.Popen(
        command,
        cwd=directory,
        env=env,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            raise CaseFailed(
                f"no end after {timeout:g} s: {shlex.join(command)}\n{_tail(stdout)}{_tail(stderr)}"
            ) from None
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Outcome(tuple(command), status, stdout, stderr)


def run_native(case: Case, directory: Path, *, build: Path = BUILD, scale: float = 1) -> Outcome:
    """Runs the case on the host and checks that Linux itself agrees with what the test expects."""
    outcome = run(command_of(case, build), directory, dict((*ENVIRONMENT, *case.env)), case.stdin, case.timeout * scale)
    if outcome.status != case.status or b" FAIL" in outcome.stdout:
        lines = [line for line in outcome.stdout.decode(errors="replace").splitlines() if " FAIL" in line]
        raise CaseFailed(
            f"natively: exit status {outcome.status}, expected {case.status}; run in {directory}: {shlex.join(outcome.command)}\n"
            + "\n".join(lines)
            + _tail(outcome.stderr)
        )
    return outcome


def run_sandbox(
    case: Case, directory: Path, quark_run: Sequence[str], *, build: Path = BUILD, scale: float = 1
) -> Outcome:
    """Runs the case by `quark run` and checks that the host's directory is as it was."""
    options = ["--cwd", str(directory)]
    if case.memory:
        options += ["--memory", case.memory]
    for name, value in (*ENVIRONMENT, *case.env):
        options += ["--env", f"{name}={value}"]
    before = scratch.fingerprint(directory)
    command = [*quark_run, *options, "--", *command_of(case, build)]
    outcome = run(command, directory, dict(os.environ), case.stdin, case.timeout * scale)
    if scratch.fingerprint(directory) != before:
        raise CaseFailed(f"the sandbox changed the host's {directory}: {shlex.join(command)}")
    return outcome


def differences(case: Case, native: Outcome, sandbox: Outcome) -> str:
    """Empty when the runs agree; else what differs, `-` lines from the host and `+` lines from the sandbox."""
    found = []
    if native.status != sandbox.status:
        found.append(f"exit status: {native.status} natively, {sandbox.status} in the sandbox\n")
    for name in ("stdout", "stderr") if case.stderr else ("stdout",):
        a, b = (getattr(outcome, name).decode(errors="backslashreplace").splitlines() for outcome in (native, sandbox))
        if getattr(native, name) != getattr(sandbox, name):
            lines = list(difflib.unified_diff(a, b, f"{name} natively", f"{name} in the sandbox", n=0, lineterm=""))
            found.append("\n".join(lines[:60]) + ("\n..." if len(lines) > 60 else "") + "\n")
    if not found:
        return ""
    return "".join(found) + f"natively: {shlex.join(native.command)}\nsandbox:  {shlex.join(sandbox.command)}\n"


def check(case: Case, quark_run: Sequence[str] | None, *, build: Path = BUILD, scale: float = 1) -> None:
    """Runs the whole case; without `quark_run` natively only. Raises CaseFailed or CaseSkipped.

    Many programs look at the clock, and a busy machine is late at times, natively too: what fails is tried once more.
    """
    try:
        _check(case, quark_run, build, scale)
    except CaseFailed:
        _check(case, quark_run, build, scale)


def _check(case: Case, quark_run: Sequence[str] | None, build: Path, scale: float) -> None:
    place = build / "scratch" / case.name[:100].replace(" ", "_")
    native_place, sandbox_place = place / "native", place / "sandbox"
    if case.survives:
        if quark_run is None:
            raise CaseSkipped("runs in the sandbox alone")
        outcome = run_sandbox(case, scratch.make(sandbox_place, tree=case.tree), quark_run, build=build, scale=scale)
        if outcome.status not in case.survives:
            raise CaseFailed(
                f"exit status {outcome.status}: {shlex.join(outcome.command)}\n{_tail(outcome.stdout)}{_tail(outcome.stderr)}"
            )
    else:
        native = run_native(case, scratch.make(native_place, tree=case.tree), build=build, scale=scale)
        if quark_run is not None:
            sandbox = run_sandbox(
                case, scratch.make(sandbox_place, tree=case.tree), quark_run, build=build, scale=scale
            )
            if difference := differences(case, native, sandbox):
                raise CaseFailed(difference)
    scratch.remove(place)


def _tail(output: bytes, lines: int = 15) -> str:
    text = output.decode(errors="backslashreplace").splitlines()[-lines:]
    return "".join(f"  | {line}\n" for line in text)
