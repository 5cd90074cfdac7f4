"""Fuzzes the borders of quark for so many minutes in sum, two fuzzers at a time; with --plants, whether they find errors that are put in."""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from qvisor import _native, kernel

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PACKAGES = ("quark", "qvisor", "snapshotd", "quark_guest")
BUILD = REPOSITORY / "build" / "fuzz"
FOUND = BUILD / "found"  # inputs that showed an error
CLANG = "clang-14"
PARALLEL = 2
HANG_SECONDS = 60  # one input
END_SECONDS = 60  # beyond its time, for a fuzzer's end
REPORT_SECONDS = 15  # from an error's report to the end
MEMORY_MIB = 4096
SHOTS_BYTES = 24 * 136  # requests: the longest input
INPUT_BYTES = 8192  # messages: more than an input has
PLANT_SECONDS = 480  # at most


@dataclass(frozen=True)
class Fuzzer:
    """One of them, and its share of the time."""

    name: str
    share: int
    binary: str = ""  # in C: the target, and what it is built with
    sanitizers: str = ""
    options: list[str] = field(default_factory=list)
    script: str = ""  # in Python


REQUESTS = [f"-max_len={SHOTS_BYTES}", "-handle_xfsz=0"]
FUZZERS = [
    Fuzzer("requests", 5, "requests", "address,undefined", REQUESTS),
    Fuzzer("requests-threads", 3, "requests", "thread", REQUESTS),
    Fuzzer("messages", 2, "messages", "address,undefined", [f"-max_len={INPUT_BYTES}"]),
    Fuzzer("store", 2, script="fuzz_store.py"),
    Fuzzer("pager", 1, script="fuzz_pager.py"),
    Fuzzer("session", 1, script="fuzz_session.py"),
]


@dataclass(frozen=True)
class Plant:
    """An error put in: in `file` of the repository, `before` becomes `after`; `fuzzer` has to find it."""

    name: str
    fuzzer: str
    file: str
    before: str
    after: str


NO_LOCKS = "".join(f"#define pthread_mutex_{what}(m) 0\n" for what in ("lock", "trylock", "unlock"))
PLANTS = [
    Plant("ram-bound", "requests", "qvisor/native/vm.h", "|| len > vm->ram_bytes - gpa)", ")"),
    Plant("window-bound", "requests", "qvisor/native/window.c", "if (chunk >= QK_WINDOW_CHUNKS || off %", "if (off %"),
    Plant(
        "links",
        "requests",
        "qvisor/native/walk.c",
        "O_NOFOLLOW, .mode = mode, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS",
        "0, .mode = mode",
    ),
    Plant(
        "two-servers",
        "requests-threads",
        "qvisor/native/qcall.c",
        '#include "vm.h"\n',
        f'#include "vm.h"\n{NO_LOCKS}',
    ),
    Plant(
        "event-ring",
        "requests-threads",
        "qvisor/native/events.c",
        "__atomic_load_n(&vm->event_head, __ATOMIC_RELAXED) ||",
        "vm->event_head ||",
    ),
    Plant(
        "section-bound",
        "messages",
        "qvisor/program/layout.c",
        " && h.section[i].bytes <= size - h.section[i].offset;",
        ";",
    ),
    Plant(
        "document", "store", "snapshotd/document.py", '    _require(isinstance(data, dict), "it is no object")\n', ""
    ),
    Plant("frame-bound", "pager", "snapshotd/pager.py", "not 0 <= gfn < image.meta.ram_bytes // PAGE", "False"),
    Plant(
        "session-spec",
        "session",
        "snapshotd/daemon/session.py",
        "        check_spec(spec.to_dict())\n",
        "        pass\n",
    ),
]


building: dict[Path, threading.Lock] = {}  # folders that two fuzzers share


def build(fuzzer: Fuzzer, tree: Path) -> Path:
    """The built program of a fuzzer in C, of the sources in `tree`."""
    planted = tree != REPOSITORY
    folder = tree / "build" if planted else BUILD / fuzzer.sanitizers.split(",")[0]
    cmake = ["cmake", "-S", HERE, "-B", folder, "-G", "Ninja", f"-DCMAKE_C_COMPILER={CLANG}", "-DCMAKE_BUILD_TYPE=None"]
    define = [
        f"-DFUZZ_SANITIZERS={fuzzer.sanitizers}",
        f"-DFUZZ_TREE={tree}",
        f"-DCMAKE_C_FLAGS={'-w' if planted else ''}",
    ]
    with building.setdefault(folder, threading.Lock()):
        subprocess.run([*cmake, *define, "--log-level=ERROR"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["cmake", "--build", folder, "--target", fuzzer.binary, "--", "--quiet"], check=True)
    return folder / fuzzer.binary


def environment(report: Path, tree: Path, world: str) -> dict[str, str]:
    """What the sanitizers are told: the first error is the end. Python takes a planted tree before what is installed."""
    return {
        **os.environ,
        **({} if tree == REPOSITORY else {"PYTHONPATH": str(tree)}),
        "FUZZ_REPORT": str(report),
        "FUZZ_WORLD": world,
        "FUZZ_KERNEL": str(kernel.PATH),
        "ASAN_OPTIONS": "detect_leaks=1:halt_on_error=1:abort_on_error=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1:report_signal_unsafe=0",
    }


def command(fuzzer: Fuzzer, program: Path | None, seconds: float, name: str) -> list[str]:
    """The command line that fuzzes for so long."""
    corpus, found = BUILD / "corpus" / name, FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    if program is None:
        return [sys.executable, str(HERE / fuzzer.script), "--seconds", str(int(seconds)), "--found", str(found)]
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = HERE / "corpus" / fuzzer.binary
    limits = [f"-max_total_time={int(seconds)}", f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={MEMORY_MIB}"]
    # Leaks: of a machine at its end, the fuzzers look themselves. Functions: their names would come from another process.
    quiet = ["-detect_leaks=0", "-print_funcs=0", "-handle_usr1=0", "-handle_usr2=0", "-verbosity=0"]
    places = [f"-artifact_prefix={found}/", str(corpus), *([str(seeds)] if seeds.is_dir() else [])]
    return [str(program), *limits, *quiet, *fuzzer.options, *places]


def fuzz(fuzzer: Fuzzer, seconds: float, name: str = "", tree: Path = REPOSITORY) -> tuple[bool, str, dict[str, float]]:
    """Run one: whether nothing was found, the end of what it said, and its figures."""
    name = name or fuzzer.name
    report, log = BUILD / f"{name}.json", BUILD / f"{name}.log"
    program = None
    if fuzzer.binary:
        program = build(fuzzer, tree)
    report.unlink(missing_ok=True)
    shutil.rmtree(FOUND / name, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="quark-fuzz-", dir="/dev/shm", ignore_cleanup_errors=True) as world:
        good = run_until(command(fuzzer, program, seconds, name), seconds, log, environment(report, tree, world))
    text = log.read_text(errors="replace")
    figures = json.loads(report.read_text()) if report.exists() else {}
    return good, "\n".join(text.splitlines()[-60:]), figures


def run_until(words: list[str], seconds: float, log: Path, env: dict[str, str]) -> bool:
    """Run it for so long, and what it needs to end; whether it was content."""
    with log.open("w") as f:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=f, stderr=f, env=env, cwd=BUILD)
    end = time.monotonic() + seconds + END_SECONDS
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.2)
        # Of what has reported an error and cannot write down its input: the report is what counts.
        if "SUMMARY: " in log.read_text(errors="replace"):
            end = min(end, time.monotonic() + REPORT_SECONDS)
    if process.poll() is None:
        process.kill()
        with log.open("a") as f:
            f.write("\nfuzz: it did not end\n")
    return process.wait() == 0


def fuzz_all(minutes: float, names: list[str]) -> bool:
    """Share the time out; whether nothing was found."""
    chosen = [f for f in FUZZERS if not names or f.name in names]
    if unknown := set(names) - {f.name for f in FUZZERS}:
        sys.exit(
            f"fuzz: there is no fuzzer {', '.join(sorted(unknown))}; there are {', '.join(f.name for f in FUZZERS)}"
        )
    total = sum(f.share for f in chosen)
    good = True
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        running = {pool.submit(fuzz, f, minutes * 60 * f.share / total): f for f in chosen}
        for future in concurrent.futures.as_completed(running):
            name = running[future].name
            fine, text, figures = future.result()
            rate = figures.get("requests", 0) / max(figures.get("seconds", 0), 1)
            print(
                f"{name}: {'nothing found' if fine else 'FOUND AN ERROR'}, {figures.get('requests', 0):,.0f} requests, {rate:,.0f} a second"
            )
            if not fine:
                good = False
                print(text)
                for kept in sorted((FOUND / name).iterdir()):
                    print(f"{name}: input {kept.relative_to(REPOSITORY)}")
    return good


def plant(p: Plant) -> bool:
    """Put an error in; whether it was found."""
    tree = BUILD / f"plant-{p.name}"
    shutil.rmtree(tree, ignore_errors=True)
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, tree / package)
    # What an installation builds is not in the sources.
    shutil.copy2(str(_native.__file__), tree / "qvisor")
    shutil.copytree(Path(kernel.PATH).parent, tree / "qvisor" / "data", dirs_exist_ok=True)
    (tree / "tests").symlink_to(REPOSITORY / "tests")
    text = (tree / p.file).read_text()
    if text.count(p.before) != 1:
        times = text.count(p.before)
        print(f"plant {p.name}: {p.file} has {p.before!r} {times} times; tests/fuzz/fuzz.py says what to change")
        return False
    (tree / p.file).write_text(text.replace(p.before, p.after))
    fuzzer = next(f for f in FUZZERS if f.name == p.fuzzer)
    started = time.monotonic()
    name = f"plant-{p.name}"
    shutil.rmtree(BUILD / "corpus" / name, ignore_errors=True)
    good, text, _ = fuzz(fuzzer, PLANT_SECONDS, name, tree)
    seconds = time.monotonic() - started
    reported = any(mark in text for mark in ("HOST EFFECT", "SUMMARY: "))
    shutil.rmtree(FOUND / name, ignore_errors=True)
    print(
        f"plant {p.name}: {'found' if reported and not good else 'NOT FOUND'} within {seconds:.0f} s, its build included"
    )
    return reported and not good


def main() -> int:
    """Exit status: 0 when there was no error, or all planted ones were found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--plants", action="store_true")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    if args.plants:
        chosen = [p for p in PLANTS if not args.names or p.name in args.names]
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            return 0 if chosen and all(list(pool.map(plant, chosen))) else 1
    return 0 if fuzz_all(args.minutes, args.names) else 1


if __name__ == "__main__":
    sys.exit(main())
