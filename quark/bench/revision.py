"""Another revision of Quark, built beside this one, to be measured in the same run. Needs a checkout with its build tools (`make`)."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from quark.bench.arms import PACKAGES
from quark.bench.measure import BenchError
from quark.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def packages(revision: str) -> Path:
    """The folder that has `revision`'s packages, built in place; made when it is not there.

    Raises:
        UsageError: this is no checkout, or it has no such revision.
        BenchError: it could not be built.
    """
    if not (PACKAGES / ".git").exists():
        raise UsageError(
            f"--against {revision!r} is no file and no snapshot, and a revision needs a checkout of quark (make dev)"
        )
    commit = _git(
        "rev-parse",
        "--verify",
        "--quiet",
        f"{revision}^{{commit}}",
        wrong=f"--against {revision!r} is no file, no snapshot and no revision of quark",
    )
    tree = PACKAGES / "build" / "revisions" / commit[:12]
    if not (tree / ".built").exists():
        print(f"quark: building revision {commit[:12]}", file=sys.stderr, flush=True)
        if not tree.exists():
            _git(
                "worktree",
                "add",
                "--detach",
                "--force",
                str(tree),
                commit,
                wrong=f"revision {commit[:12]} cannot be checked out",
            )
        configure = [
            "cmake",
            "-S",
            ".",
            "-B",
            "build/dev",
            "-G",
            "Ninja",
            f"-DPython_EXECUTABLE={sys.executable}",
            "-DQUARK_IN_PLACE=ON",
        ]
        for command in (configure, ["cmake", "--build", "build/dev"]):
            done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BenchError(
                    f"revision {commit[:12]} does not build: {(done.stderr or done.stdout).strip().rpartition(chr(10))[2]}"
                )
        (tree / ".built").touch()
    return tree


def _git(*args: str, wrong: str) -> str:
    done = subprocess.run(["git", *args], cwd=PACKAGES, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(wrong)
    return done.stdout.strip()
