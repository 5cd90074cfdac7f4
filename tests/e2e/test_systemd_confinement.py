"""The daemon under what snapshotd.service takes away: system calls, address families, namespaces and capabilities, by the kernel's own means."""

import configparser
import json
import os
import re
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PYTHON = REPOSITORY / ".venv" / "bin" / "python"
UNIT = REPOSITORY / "snapshotd" / "systemd" / "snapshotd.service"
NUMBERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
# seccomp(2), struct seccomp_data: the number, the architecture, the instruction pointer, and the arguments, whose low halves matter here.
LOAD, EQUAL, ANY_OF, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # the latter: errno 1, EPERM
NAMESPACES = 0x7E020080
# Becomes the command in argv[2:] under the filter in the file argv[1]: PR_SET_NO_NEW_PRIVS, then PR_SET_SECCOMP with struct sock_fprog.
LAUNCHER = """
import ctypes, os, struct, sys
code = open(sys.argv[1], "rb").read()
buffer = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execvp(sys.argv[2], sys.argv[2:])
"""
# Its first clone is restored from an image that is not complete: with userfaultfd.
SCRIPT = "a=$(head -c 3000000 /dev/urandom | od); echo ready >/dev/quark; echo ${#a}"


def group(name):
    """System calls of one of systemd's groups."""
    listed = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    names = set()
    for word in re.findall(r"^ {4}([@\w-]+)$", listed.stdout, re.MULTILINE):
        names |= group(word) if word[0] == "@" else {word}
    return names


def program(service):
    """The filter in BPF: the number is loaded, and compared with one after the other."""
    number = {name: int(n) for name, n in re.findall(r"#define __NR_(\w+) (\d+)", NUMBERS.read_text())}
    code = []

    def step(op, value, yes=0, no=0):
        code.append(struct.pack("<HBBI", op, yes, no, value))

    def refuse(name, *condition):
        """`condition`: (argument, operation, value); refused when it holds, or with `unless` when it does not."""
        step(LOAD, 0)
        step(EQUAL, number[name], 0, len(condition) + 1 if condition else 1)
        for op, value, yes, no in condition:
            step(op, value, yes, no)
        step(RETURN, REFUSE)

    filtered = service["SystemCallFilter"].split()
    assert filtered[0][0] == "~"
    names = {"unshare", "setns"}.union(*(group(word.removeprefix("~")) for word in filtered))
    for name in sorted(names & number.keys()):
        refuse(name)
    assert service["RestrictNamespaces"] == service["MemoryDenyWriteExecute"] == "yes"
    refuse("clone", (LOAD, 16, 0, 0), (ANY_OF, NAMESPACES, 0, 1))
    for name in ("mprotect", "pkey_mprotect"):
        refuse(name, (LOAD, 32, 0, 0), (ANY_OF, 4, 0, 1))
    # Both bits: neither is missing.
    refuse("mmap", (LOAD, 32, 0, 0), (ANY_OF, 4, 0, 2), (ANY_OF, 2, 0, 1))
    families = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
    allowed = [families[word] for word in service["RestrictAddressFamilies"].split()]
    rest = len(allowed)
    refuse("socket", (LOAD, 16, 0, 0), *((EQUAL, family, rest - i, 0) for i, family in enumerate(allowed)))
    step(RETURN, ALLOW)
    return b"".join(code)


@pytest.fixture
def confined(tmp_path):
    """Starts a command under all of it."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(UNIT)
    service = parser["Service"]
    for what in ("systemd-analyze", "setpriv"):
        if shutil.which(what) is None:
            pytest.skip(f"this host has no {what}")
    if os.geteuid() != 0 or not NUMBERS.exists():
        pytest.skip("only root has capabilities to lose; the numbers of system calls are in libc6-dev")
    code = tmp_path / "filter"
    code.write_bytes(program(service))
    kept = [word.removeprefix("CAP_").lower() for word in service["CapabilityBoundingSet"].split()]
    bound = ",".join(["-all", *(f"+{cap}" for cap in kept)])

    def start(command, **options):
        privileges = ["setpriv", f"--bounding-set={bound}", "--inh-caps=-all"]
        launcher = [PYTHON, "-c", LAUNCHER, code]
        return subprocess.Popen([*privileges, *launcher, *command], stdin=subprocess.DEVNULL, **options)

    return start


def output(process):
    out, err = process.communicate(timeout=20)
    return process.returncode, out + err


def test_what_is_refused(confined):
    """The confinement is real: or the next test would prove nothing."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    assert output(confined(["true"], **pipes)) == (0, "")
    for command in (["unshare", "-m", "true"], ["chroot", "/", "true"]):
        status, text = output(confined(command, **pipes))
        assert status, command
        assert "not permitted" in text, command
    code = "import {0}\ntry: {0}.{1}\nexcept (PermissionError, OSError) as e: print(e.errno)\nelse: print('done')"
    for module, call, expected in (
        ("socket", "socket(socket.AF_NETLINK, socket.SOCK_RAW)", "1"),
        ("socket", "socket(socket.AF_INET6)", "done"),
        ("socket", "socket(socket.AF_UNIX)", "done"),
        ("mmap", "mmap(-1, 4096, prot=7)", "1"),
        ("mmap", "mmap(-1, 4096, prot=5)", "done"),
        ("mmap", "mmap(-1, 4096, prot=3)", "done"),
    ):
        assert output(confined([PYTHON, "-c", code.format(module, call)], **pipes)) == (0, expected + "\n"), call


def test_it_works(quark, confined, tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as f:
        process = confined([PYTHON, "-P", "-m", "snapshotd.daemon", "--root", quark.root], stderr=f)
    try:
        deadline = time.monotonic() + 30
        while not (quark.root / "run" / "session.sock").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        status = dict(re.findall(r"^(\w+):\t(.*)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE))
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        assert int(status["CapEff"], 16).bit_count() == 9
        volume = tmp_path / "volume"
        volume.mkdir()
        os.chown(volume, 4711, 4711)
        volume.chmod(0o700)
        work = "cd /v && echo text >f && chmod 600 f && chown 5:6 f && mkdir d && mv f d/ && cat d/f && exit 7"
        done = quark("run", "--any-owner", "-v", f"{volume}:/v", "--", "/bin/sh", "-c", work)
        assert (done.status, done.out) == (7, "text\n"), done
        assert ((volume / "d" / "f").stat().st_uid, (volume / "d" / "f").stat().st_mode & 0o777) == (5, 0o600)
        done = quark(
            "run", "--volume-user", "4711:4711", "-v", f"{volume}:/v", "--", "/bin/sh", "-c", "echo text >/v/own"
        )
        assert (done.status, (volume / "own").stat().st_uid) == (0, 4711), done
        done = quark("snapshot", "create", "s", "--ready-file", "--", "/bin/sh", "-c", SCRIPT)
        assert done.status == 0, done
        first = quark("run", "--from-snapshot", "s", "--timing", "--json")
        assert (first.status, first.out.strip().isdigit()) == (0, True), first
        assert "register userfaultfd" in [step["name"] for step in json.loads(first.err)["steps"]]
        assert quark("run", "--from-snapshot", "s").out == first.out

    finally:
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
