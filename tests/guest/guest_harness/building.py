"""Builds the C programs into build/guest/LINK/NAME; what is newer than its sources is left alone."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .cases import Case

TESTS = Path(__file__).parents[1]
REPOSITORY = TESTS.parents[1]
BUILD = REPOSITORY / "build" / "guest"

FLAGS = ("-std=gnu17", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-pthread", f"-I{TESTS / 'c'}")
# How each kind is compiled and linked. The kinds cover the ELF types a loader meets: ET_EXEC and ET_DYN, with and without PT_INTERP.
LINKS = {
    "static": ("-fno-pie", "-static", "-no-pie"),
    "dynamic": ("-fPIE", "-pie"),
    "static-pie": ("-fPIE", "-static-pie"),
    "no-pie": ("-fno-pie", "-no-pie"),
    "bare": ("-fno-pie", "-static", "-no-pie", "-nostdlib", "-ffreestanding", "-fno-stack-protector"),
}


class BuildError(Exception):
    """A program does not compile; the message is the compiler's."""


def path_of(case: Case, build: Path = BUILD) -> Path:
    """Where the case's program is: built, or the script itself."""
    return build / case.link / Path(case.source).stem if case.link else TESTS / case.source


def _build(case: Case, build: Path) -> None:
    target, source = path_of(case, build), TESTS / case.source
    needed = [source, Path(__file__), *(TESTS / "c").glob("*.h")]
    if target.exists() and target.stat().st_mtime > max(path.stat().st_mtime for path in needed):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.new")
    compiler = os.environ.get("CC", "gcc")
    command = [
        compiler,
        *FLAGS,
        *LINKS[case.link],
        "-o",
        str(unfinished),
        str(source),
        *(() if case.link == "bare" else ("-lm",)),
    ]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BuildError(f"{compiler}: not found; install gcc and libc6-dev, or set CC") from None
    if result.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{result.stderr}")
    unfinished.rename(target)


def build_all(cases: Iterable[Case], build: Path = BUILD) -> None:
    """Builds what the cases need; raises BuildError for the first that fails."""
    programs = {path_of(case, build): case for case in cases if case.link}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(_build, case, build) for case in programs.values()]:
            done.result()
