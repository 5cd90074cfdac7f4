"""CPython's own tests, case by case, in a sandbox and natively: `make conformance`.

What counts are the cases that pass natively without a network (QUARK_UNIX_ONLY of cpython_cases.py). Each has to pass in the sandbox, or to be in
cpython_known.toml with its reason; docs/conformance.md is written from that file and checked against it. The cases of a module that differ are
tried again, without the others, on both sides: only what differs three times in a row is a difference.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import fnmatch
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
QUARK = REPOSITORY / ".venv" / "bin" / "quark"
CASES = HERE / "cpython_cases.py"
KNOWN = HERE / "cpython_known.toml"
STRESSORS = HERE / "stress_ng_known.toml"
PAGE = REPOSITORY / "docs" / "conformance.md"
PYTHON = "/usr/bin/python3.11"
SUITE = Path("/usr/lib/python3.11/test")
BAR = 99.95  # per cent
TRIES = 3
# A case that takes longer ends its process; a process that writes no record for SILENT_SECONDS (its kernel hangs, or the module's own set-up) is
# killed.
MODULE_SECONDS = 900
CASE_SECONDS = {"native": 30, "guest": 120}
SILENT_SECONDS = {"native": 60, "guest": 150}
LOOK_SECONDS = 2.0
MEMORY = "2G"
# Need a display, are for other systems, or take more memory and time than they say about a kernel.
LEFT_OUT = {
    "test_ttk_guionly", "test_tcl", "test_tk", "test_tix", "test_idle", "test_turtle", "test_winreg", "test_winsound", "test_winconsoleio",
    "test_msilib", "test_kqueue", "test_devpoll", "test_ioctl_mac", "test_startfile", "test_launcher", "test_wmi", "test_peg_generator",
    "test_tools", "test_bigmem", "test_gdb", "test_distutils", "test_lib2to3", "test_ossaudiodev",
    "test_httpservers",  # every case waits for a network until its time is over
}  # fmt: skip
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
Outcomes = dict[str, tuple[str, str]]  # of a case: what cpython_cases.py calls it, the reason


@dataclass
class Comparison:
    """What a module's cases did: how many pass natively, how many of these in the sandbox, those that do not with the reason."""

    module: str
    native: int = 0
    guest: int = 0
    seconds: float = 0.0
    wrong: dict[str, str] = field(default_factory=dict)


def modules() -> list[str]:
    """All test modules of the suite that say something about a kernel."""
    found = {p.stem for p in SUITE.glob("test_*.py")} | {p.parent.name for p in SUITE.glob("test_*/__init__.py")}
    return sorted(found - LEFT_OUT)


class Side:
    """Where tests run: natively or in a sandbox. Every run has a working directory of its own."""

    def __init__(self, name: str, place: Path) -> None:
        self.name = name
        self.place = place / name
        self.place.mkdir()

    def command(self, folder: Path) -> tuple[list[str], dict[str, str]]:
        """Command line and environment of python and cpython_cases.py with its records in `folder`; regrtest's arguments follow."""
        if self.name == "native":
            return [PYTHON, str(CASES), str(folder)], {**ENVIRONMENT, "QUARK_UNIX_ONLY": "1"}
        options = [f"--env={k}={v}" for k, v in ENVIRONMENT.items()]
        volumes = ["-v", f"{folder}:/records", "-v", f"{HERE}:/conformance:ro"]
        sandbox = [str(QUARK), "run", "--no-daemon", "--memory", MEMORY, "--cwd", "/tmp", *options, *volumes, "--"]
        return [*sandbox, PYTHON, "/conformance/cpython_cases.py", "/records"], dict(os.environ)

    def run(self, module: str, only: Collection[str] = ()) -> Outcomes:
        """Outcome and reason of every case of a module, or of those in `only`."""
        outcomes: Outcomes = {}
        deadline = time.monotonic() + MODULE_SECONDS
        while time.monotonic() < deadline:
            folder = Path(tempfile.mkdtemp(dir=self.place))
            (folder / "only").write_text("\n".join(only))
            # A case that ended its process takes nothing from those behind it: the next process goes on there.
            (folder / "done").write_text("\n".join(outcomes))
            command, environment = self.command(folder)
            with (
                (folder / "output").open("wb") as output,
                subprocess.Popen(
                    [*command, str(CASE_SECONDS[self.name]), "-v", module],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=folder,
                    env=environment,
                    start_new_session=True,
                ) as process,
            ):
                self._wait(process, folder, deadline)
            cut = self._read(folder, outcomes, process.returncode)
            shutil.rmtree(folder, ignore_errors=True)
            if not cut:
                break
        return outcomes

    def _wait(self, process: subprocess.Popen[bytes], folder: Path, deadline: float) -> None:
        """Wait for a process that makes progress, end others; nothing of its session stays."""
        size, since = -1, time.monotonic()
        while time.monotonic() < min(deadline, since + SILENT_SECONDS[self.name]):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)
                break
            with contextlib.suppress(FileNotFoundError):
                now = (folder / "records").stat().st_size
                size, since = (size, since) if now == size else (now, time.monotonic())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    @staticmethod
    def _read(folder: Path, outcomes: Outcomes, status: int) -> str:
        """Add a run's records; the case that ended the process, if one did."""
        started = ""
        records = folder / "records"
        for line in records.read_text().splitlines() if records.exists() else ():
            kind, name, *rest = json.loads(line)
            if kind == "START":
                started = name
            elif kind == "END":
                outcomes[name] = (rest[0], rest[1])
                started = ""
        if started:
            tail = (folder / "output").read_text(errors="replace")[-2000:]
            outcomes[started] = ("ENDED", f"status {status}: {tail}")
        return started


def compare(module: str, native: Side, guest: Side) -> Comparison:
    """Run a module natively, what passes there in the sandbox, and what differs again."""
    begun = time.monotonic()
    good: set[str] = set()
    wrong: Outcomes = {}
    for attempt in range(TRIES):
        expected = native.run(module, sorted(wrong))
        passing = {case for case, (outcome, _) in expected.items() if outcome == "PASS"}
        # What passes natively only now and then is no case to count.
        good = good - (wrong.keys() - passing) if attempt else passing
        # What waits for a network for ever does so natively only.
        found = guest.run(module, sorted(passing)) if passing else {}
        results = {case: found.get(case, ("ENDED", "never ran")) for case in passing}
        wrong = {case: result for case, result in results.items() if result[0] != "PASS"}
        if not wrong:
            break
    reasons = {case: f"{outcome}: {why.strip()}" for case, (outcome, why) in sorted(wrong.items())}
    return Comparison(module, len(good), len(good) - len(wrong), round(time.monotonic() - begun, 1), reasons)


def known() -> list[dict[str, str]]:
    """The differences that are known: `case`, a pattern (fnmatch), and `reason`."""
    return list(tomllib.loads(KNOWN.read_text()).get("difference", []))


def page() -> str:
    """docs/conformance.md."""
    rows = "".join(f"| `{d['case']}` | {d['reason']} |\n" for d in known())
    stressors = "".join(
        f"| `{d['name']}` | {d['reason']} |\n" for d in tomllib.loads(STRESSORS.read_text())["difference"]
    )
    return f"""\
# Conformance

Native Linux is the oracle. `make conformance` runs CPython 3.11's own tests (Debian's libpython3.11-testsuite) in sandboxes and natively, one
process a module, and compares case by case. What counts are the cases that pass natively where every address family but AF_UNIX is refused: they
need no network. The cases that differ are tried {TRIES} times. The bar for all modules is {BAR} % of these cases; `make test` runs the modules of
tests/conformance/cpython_ci.txt, `make conformance` all of them. A difference that is not in this table fails both.

| case | reason |
|---|---|
{rows}
`make stress` runs each of stress-ng's stressors that succeeds natively without privileges or network, a worker for a second, in a sandbox of its
own. None may hang, the guest kernel may not panic, and 95 % have to end with the same status. A difference that is not in this table fails it.

| stressor | reason |
|---|---|
{stressors}
This page is written by `make docs` from tests/conformance/cpython_known.toml and stress_ng_known.toml.
"""


def run(chosen: list[str], jobs: int, report: Path | None, bar: float) -> int:
    """Compare modules, `jobs` at a time; print the differences and the share. 1 when it is below `bar` or a difference is not known."""
    patterns = known()
    done: list[Comparison] = []
    unknown = 0
    with (
        tempfile.TemporaryDirectory(prefix="quark-conformance-", ignore_cleanup_errors=True) as folder,
        concurrent.futures.ThreadPoolExecutor(jobs) as pool,
    ):
        native, guest = Side("native", Path(folder)), Side("guest", Path(folder))
        for future in concurrent.futures.as_completed([pool.submit(compare, m, native, guest) for m in chosen]):
            one = future.result()
            done.append(one)
            print(
                f"{len(done)}/{len(chosen)} {one.module}: {one.guest} of {one.native}, {one.seconds:.0f} s", flush=True
            )
            for case, why in one.wrong.items():
                reason = next((d["reason"] for d in patterns if fnmatch.fnmatchcase(case, d["case"])), "")
                print(f"    {case}: {reason or why}", flush=True)
                unknown += not reason
            if report:
                report.write_text(json.dumps([asdict(d) for d in done], indent=1))
    passing, same = sum(d.native for d in done), sum(d.guest for d in done)
    share = 100 * same / passing if passing else 0.0
    print(f"{same} of {passing} cases that pass natively pass in the sandbox: {share:.2f} %")
    if share < bar:
        print(f"the bar is {bar} %")
    print(f"{unknown} differences without a reason")
    return int(share < bar or unknown > 0)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, help="file with the modules to run, one a line; default: all")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="modules at a time, default: one a processor"
    )
    parser.add_argument("--json", type=Path, help="write all that was found")
    parser.add_argument("--page", action="store_true", help="write docs/conformance.md and end")
    parser.add_argument("--check-page", action="store_true", help="check docs/conformance.md and end")
    parser.add_argument("modules", nargs="*")
    options = parser.parse_args()
    if options.page:
        PAGE.write_text(page())
        return 0
    if options.check_page:
        if PAGE.exists() and PAGE.read_text() == page():
            return 0
        print("docs/conformance.md is not what cpython_known.toml gives: make docs", file=sys.stderr)
        return 1
    if not SUITE.is_dir():
        print("libpython3.11-testsuite is missing: `make system` installs it", file=sys.stderr)
        return 2
    chosen = options.modules or (options.list.read_text().split() if options.list else modules())
    # The known differences lie in few modules: the share of these alone says nothing.
    return run(chosen, options.jobs, options.json, 0.0 if options.modules or options.list else BAR)


if __name__ == "__main__":
    sys.exit(main())
