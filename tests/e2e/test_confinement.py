"""What QVisor's process is confined by, as docs/threat-model.md says it: looked up in /proc of live ones, and tried out."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from qvisor import process
from qvisor._native import lib
from qvisor.confinement import PARTS

REPOSITORY = Path(__file__).parents[2]
PROGRAM, HERE = REPOSITORY / "qvisor" / "program", REPOSITORY / "tests" / "confinement"
MODEL = (REPOSITORY / "docs" / "threat-model.md").read_text()
LOOP = ("/bin/sh", "-c", "echo on; while :; do sleep 0.05; done")
IN_PREPARE, IN_RUN, IN_VOLUME, IN_CAPTURE = 1, 2, 4, 8
SYSTEM_CALLS_MAX = 45
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to lose, and makes mounts")


def rows(heading):
    """Of the table below a heading, by its column names."""
    text = MODEL.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def found(pid):
    """The row of a process."""
    proc = Path("/proc", str(pid))
    status = dict(re.findall(r"^(\w+):\t(.*)$", (proc / "status").read_text(), re.MULTILINE))
    ours = Path("/proc/self/ns")
    limits = (proc / "limits").read_text()
    names = ("mnt", "net", "ipc", "uts", "cgroup")
    own = dict(re.findall(r"^(\w+):\t(.*)$", Path("/proc/self/status").read_text(), re.MULTILINE))

    def set_of(name):
        return "the caller's" if status[name] == own[name] else status[name].lstrip("0") or "none"

    return {
        "capabilities": set_of("CapEff"),
        "bounding set": set_of("CapBnd"),
        "no_new_privs": status["NoNewPrivs"],
        "Seccomp": status["Seccomp"],
        "own namespaces": " ".join(n for n in names if os.readlink(proc / "ns" / n) != os.readlink(ours / n)) or "none",
        "root": "empty" if not os.listdir(proc / "root") else "the host's",
        "limits": " ".join(
            name
            for name, text in (("core", "core file size"), ("memlock", "locked memory"), ("msgqueue", "msgqueue size"))
            if re.search(rf"^Max {text} +0 +0 ", limits, re.MULTILINE)
        )
        or "the caller's",
    }


def check(name, pid):
    (row,) = (r for r in rows("Processes") if r["process"] == name)
    assert {k: v for k, v in row.items() if k in found(pid)} == found(pid), name


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def comm(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@root_only
def test_one_alone(quark):
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    secret = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(secret, True)
    with subprocess.Popen(quark.command("run", "--", *LOOP), **streams, text=True, pass_fds=(secret,)) as p:
        try:
            assert p.stdout.readline() == "on\n"
            check("QVisor, running", p.pid)
            named = []
            for f in Path(f"/proc/{p.pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # the guest opens and closes
                    named += [os.readlink(f)] if int(f.name) > 2 else []
            assert named
            assert os.devnull not in named, "what the caller had open is not inherited"
        finally:
            p.kill()
            os.close(secret)


@root_only
def test_the_daemons(quark, daemon):
    until(lambda: len([p for p in daemon.family() if comm(p) == "qvisor"]) >= 2)
    idle = {p for p in daemon.family() if comm(p) == "qvisor"}
    for pid in idle:
        until(lambda pid=pid: found(pid)["Seccomp"] == "2")
        check("QVisor, waiting", pid)
    check("snapshotd", daemon.process.pid)
    (zygote,) = (p for p in daemon.family() if b"snapshotd.zygote" in Path(f"/proc/{p}/cmdline").read_bytes())
    check("zygote", zygote)
    assert quark("run", "--detach", "--", *LOOP).status == 0
    busy = until(lambda: [p for p in idle if Path(f"/proc/{p}").exists() and found(p)["capabilities"] == "none"])
    check("QVisor, running", busy[0])
    shown = json.loads(quark("ps", "--json").out)
    assert [s["confined_by"] for s in shown] == [list(PARTS)]
    head, line = quark("ps", "--security").out.splitlines()
    assert head.split()[:2] == ["ID", "STATE"]
    assert line.split()[2:] == [*PARTS, "-"]


def test_what_is_had_is_said(quark):
    done = quark("run", "--debug", "--", "/bin/true")
    assert f"quark: confined by: {' '.join(PARTS)}\n" in done.err
    done = quark("run", "--debug", "--unconfined", "--", "/bin/true")
    assert done.err.startswith("quark: the sandbox's process is not confined\n")
    assert f"quark: not confined by: {' '.join(PARTS)}\n" in done.err
    lines = [line for line in quark("doctor").out.splitlines() if " confined by " in line]
    assert [line.split()[3].rstrip(":") for line in lines] == list(PARTS)


def test_the_names_of_the_parts():
    """C says them, too, in the order of their bits."""
    assert [bit for bit, _ in PARTS.values()] == [1 << i for i in range(len(PARTS))]
    text = (PROGRAM / "confine.c").read_text().split("names[] = {")[1].split("}")[0]
    assert re.findall(r'"(.*?)"', text) == list(PARTS)
    assert 1 << (len(PARTS) - 1) == lib.QM_BY_MOUNTS


@root_only
def test_what_is_lacking_can_be_an_error(quark):
    """As where root has no capabilities to make namespaces with."""
    if shutil.which("setpriv") is None:
        pytest.skip("this host has no setpriv")
    poor = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*poor, *quark.command("run", "--no-daemon", "--debug", "--", "/bin/echo", "on")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "on\n")
    assert "quark: not confined by: namespaces network empty-root own-mounts\n" in done.stderr
    strict = [*poor, *quark.command("run", "--no-daemon", "--require-confinement", "--", "/bin/echo", "on")]
    done = subprocess.run(strict, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (58, "", 1)
    assert "namespaces" in done.stderr
    assert quark("run", "--require-confinement", "--", "/bin/echo", "on").out == "on\n"
    assert quark("run", "--require-confinement", "--unconfined", "--", "/bin/true").status == 2


@root_only
def test_files_of_others(quark, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, 4711, 4711)
    volume.chmod(0o700)
    command = ("-v", f"{volume}:/v", "--", "/bin/sh", "-c", "echo text >/v/f; cat /v/f")
    assert "Permission denied" in quark("run", *command).err
    assert quark("run", "--any-owner", *command).out == "text\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Programs of tests/confinement, linked with files of QVisor's."""
    folder = tmp_path_factory.mktemp("confinement")

    def build(name, *sources):
        out = folder / name
        if not out.exists():
            folders = (PROGRAM, PROGRAM.parent / "native", REPOSITORY / "qkernel" / "include")
            include = [word for folder in folders for word in ("-iquote", folder)]
            sources = [HERE / f"{name}.c", *(PROGRAM.parent / s for s in sources)]
            subprocess.run(
                ["cc", "-D_GNU_SOURCE", "-O1", "-Wall", "-Werror", *include, *sources, "-o", out], check=True
            )
        return out

    return build


@pytest.mark.parametrize(
    "stages", [IN_PREPARE | IN_RUN | IN_VOLUME | IN_CAPTURE, IN_RUN, IN_RUN | IN_CAPTURE, IN_RUN | IN_VOLUME]
)
def test_any_other_system_call_is_the_end(built, stages):
    done = subprocess.run(
        [built("syscalls", "program/seccomp.c"), "try", str(stages)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done


def table(built):
    listed = subprocess.check_output([built("syscalls", "program/seccomp.c"), "list"], text=True)
    return [line.split("\t") for line in listed.splitlines()]


def test_the_list_of_system_calls(built):
    when = {IN_RUN: "always", IN_CAPTURE: "captures", IN_VOLUME: "writable volume"}
    calls, lines = {}, []
    for stages, name, arguments, reason in table(built):
        last = next((text for bit, text in when.items() if int(stages) & bit), "before the run")
        calls.setdefault(last, set()).add(name)
        lines.append(f"| {name} | {last} | {' '.join(arguments.split()).replace('|', 'or')} | {reason} |")
    assert "\n".join(lines) in MODEL, "docs/threat-model.md should have:\n" + "\n".join(lines)
    captured = calls["always"] | calls["captures"]
    assert len(captured) <= SYSTEM_CALLS_MAX
    volume = len(calls["writable volume"] - captured)
    assert f"{len(calls['always'])} system calls are left" in MODEL
    assert f", {len(captured)} where a daemon can capture it, and {volume} more where a volume is writable;" in MODEL


def test_what_it_imports():
    """Of the C library QVisor has what is in this list: what else it should have needs a look at the system calls behind it (seccomp.c)."""
    known = set((HERE / "imports.txt").read_text().split())
    symbols = subprocess.check_output(["nm", "-D", "--undefined-only", process.PATH], text=True)
    imported = {line.split()[-1].partition("@")[0] for line in symbols.splitlines()}
    assert imported <= known, f"new: {sorted(imported - known)}: see that seccomp.c allows what they do, then add them"


@root_only
@pytest.mark.parametrize("by", ["mounts", "landlock"])
def test_nothing_leads_out_of_the_roots(built, tmp_path, by):
    """Not for QVisor itself, should a guest have taken it over."""
    for folder in ("root", "volume"):
        (tmp_path / folder).mkdir()
    (tmp_path / "root" / "file").touch()
    (tmp_path / "secret").touch()
    os.mknod(tmp_path / "volume" / "null", 0o20666, os.makedev(1, 3))
    arguments = [by, *(tmp_path / name for name in ("root", "volume", "secret"))]
    done = subprocess.run(
        [built("escape", "native/mounts.c", "program/landlock.c"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 4:
        pytest.skip("this kernel has no Landlock")
    allowed = "open a device in the volume\n" if by == "landlock" else ""
    assert (done.returncode, done.stdout) == (0, allowed), done
    assert not (tmp_path / "made").exists()


def test_a_system_call_that_is_none_of_its(quark):
    """What becomes of a sandbox whose QVisor is ended by its filter: the signal is told as such."""
    with subprocess.Popen(
        quark.command("run", "--no-daemon", "--", *LOOP), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as p:
        assert p.stdout.readline() == "on\n"
        p.send_signal(signal.SIGSYS)
        assert p.wait(30) == -signal.SIGSYS
