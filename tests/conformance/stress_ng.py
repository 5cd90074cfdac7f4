"""Every stressor of stress-ng that runs natively without privileges and network, in a sandbox: does it end, and with the same exit status?

    tests/conformance/stress_ng.py [--quark COMMAND] [--seconds N] [--only NAME,...] [--json FILE] [--baseline FILE]

Each runs one worker for a second or two as `nobody`, natively and in a sandbox of its own. What does not succeed natively is left out: it needs
privileges, hardware or a network that is not there. Exit status 1 when a stressor hangs, the guest kernel panics, one differs that
stress_ng_known.toml does not name, or less than 95% agree.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

STRESS = "/usr/bin/stress-ng"
NOBODY = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
PATIENCE = 60  # seconds that a stressor may take beyond its time before it counts as hanging
WANTED = 0.95
# Those of AF_UNIX and of no address family are tried; the others of their class need a network.
LOCAL = frozenset({"epoll", "sockfd", "sockpair"})
# These take the memory or the processes of the whole machine, natively too.
HOGS = frozenset({"bigheap", "brk", "stack", "oom-pipe", "forkheavy", "vm", "swap", "resources"})

KNOWN = Path(__file__).with_name("stress_ng_known.toml")


def command(name: str, seconds: int, folder: str) -> list[str]:
    """The command line of one stressor, for both sides."""
    return [STRESS, "--temp-path", folder, f"--{name}", "1", "--timeout", str(seconds), "--oomable"]


def run(line: list[str], seconds: int, **options: Any) -> tuple[int | str, float, str]:
    """Exit status (or "hang"), seconds, last lines of the output."""
    began = time.monotonic()
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, **options
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds + PATIENCE)
            status: int | str = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, _ = process.communicate()
            status = "hang"
    text = output.decode(errors="replace")
    if "panic" in text and status != "hang":
        status = "panic"
    return status, time.monotonic() - began, "\n".join(text.splitlines()[-6:])


def natively(name: str, seconds: int) -> int | str:
    """The stressor's exit status on this host."""
    folder = tempfile.mkdtemp(prefix="stress-")
    os.chmod(folder, 0o777)
    try:
        return run([*NOBODY, *command(name, seconds, folder)], seconds, cwd=folder)[0]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_sandbox(name: str, seconds: int, quark: list[str]) -> tuple[int | str, float, str]:
    """The same in a sandbox of its own."""
    return run([*quark, "--memory", "4G", "--cwd", "/tmp", "--", *NOBODY, *command(name, seconds, "/tmp")], seconds)


def listed(*options: str) -> list[str]:
    """The names that stress-ng prints, without the title in front of a colon."""
    text = subprocess.run([STRESS, *options], capture_output=True, text=True, check=False).stdout
    return text.rpartition(":")[2].split()


def network() -> set[str]:
    """The stressors that need one."""
    return set(listed("--class", "network?")) - LOCAL


def main() -> int:
    """Compares, prints a table, answers with the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quark", default=f"{Path(__file__).parents[2]}/.venv/bin/quark run")
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=1, help="stressors at a time")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument(
        "--baseline", type=Path, help="native statuses from there when it exists; else they are written there"
    )
    given = parser.parse_args()
    names = [n for n in listed("--stressors") if n not in HOGS and n not in network()]
    if given.only:
        names = given.only.split(",")
    known: dict[str, int | str] = (
        json.loads(given.baseline.read_text()) if given.baseline and given.baseline.exists() else {}
    )
    results: dict[str, dict[str, Any]] = {}
    expected = {d["name"]: d for d in tomllib.loads(KNOWN.read_text())["difference"]}

    def one(name: str) -> None:
        if name not in known:
            known[name] = natively(name, given.seconds)
        if known[name] != 0:
            return
        if expected.get(name, {}).get("endless"):
            results[name] = {"status": "not run", "seconds": 0, "output": expected[name]["reason"]}
            return
        status, seconds, tail = in_sandbox(name, given.seconds, shlex.split(given.quark))
        results[name] = {"status": status, "seconds": round(seconds, 1), "output": tail if status else ""}
        if status and name not in expected:
            print(f"{name}: {status} after {seconds:.1f} s\n    " + tail.replace("\n", "\n    "), flush=True)

    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(one, names))
    if given.baseline:
        given.baseline.write_text(json.dumps(known))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))
    bad = [n for n, r in results.items() if r["status"] in ("hang", "panic")]
    same = sum(r["status"] == 0 for r in results.values())
    share = same / max(1, len(results))
    wrong = {n for n, r in results.items() if r["status"] != 0}
    print(
        "".join(f"{n}: {results[n]['status']}: {expected[n]['reason']}\n" for n in sorted(wrong & set(expected))),
        end="",
    )
    print(
        f"{len(names)} stressors, {len(results)} succeed natively, {same} of them in a sandbox ({share:.1%}), hang or panic: {bad or 'none'}, not known: {sorted(wrong - set(expected)) or 'none'}"
    )
    return 1 if bad or (share < WANTED and not given.only) or wrong - set(expected) else 0


if __name__ == "__main__":
    sys.exit(main())
