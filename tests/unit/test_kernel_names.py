"""Names and sizes in the guest kernel: a static function says in its name what its file is about, so that it can be searched for and read in a trace."""

import re
from collections import Counter
from pathlib import Path

import pytest

KERNEL = Path(__file__).parents[2] / "qkernel"
FILES = sorted(
    p for folder in ["lib", "arch", "mm", "proc", "fs", "net", "ipc", "init"] for p in (KERNEL / folder).rglob("*.c")
)
LINES_MAX = 400
# What a file is about, where its functions do not say so in the words of its name.
SUBJECTS = {
    "behind": "held",
    "context": "fpu task",
    "cpu": "tss msr",
    "dev_quark": "quark",
    "devfs": "null full zero random",
    "devpts": "pts",
    "epoll": "item",
    "fdtable": "fd",
    "frame": "frames",
    "fsctx": "ctx",
    "futex": "robust",
    "hostfs": "hostnode",
    "hoststream": "stream host terminal",
    "hostxattr": "xattr",
    "itimer": "itimers cpu",
    "ldisc_in": "ldisc",
    "ldisc_out": "ldisc",
    "log": "trace",
    "memfs": "memnode",
    "memxattr": "xattr xattrs",
    "msg": "queue",
    "nameshrink": "shrink",
    "names": "name",
    "pagetable": "pt pte",
    "pipe": "fifo",
    "poll": "select",
    "procmem": "mem",
    "pty": "master slave",
    "qcall": "vcpu",
    "sem": "undo",
    "semctl": "sem",
    "shm": "segment attachment",
    "signal_user": "user",
    "start": "init",
    "sys_ids": "cap uid gid uids",
    "sys_message": "msg msgs cmsg",
    "sys_open": "fcntl",
    "sys_sched": "nice",
    "sys_signal": "kill",
    "sys_socket": "sock",
    "sysfs": "cgroup",
    "texttree": "tree",
    "uaccess": "user uio",
    "unix_proc": "unix",
}


def _statics(path: Path) -> set[str]:
    return set(re.findall(r"^static (?:[\w]+ )+\**(\w+)\([^;]*?\)\n\{", path.read_text(), re.MULTILINE))


def _subject(path: Path) -> set[str]:
    stem = path.stem
    return {stem, *stem.split("_"), *SUBJECTS.get(stem, "").split()} - {"sys"}


def test_static_functions_name_their_subject():
    assert sum(len(_statics(p)) for p in FILES) > 500
    wrong = [
        f"{p.relative_to(KERNEL)}: {n}"
        for p in FILES
        for n in sorted(_statics(p))
        if not _subject(p) & set(n.split("_"))
    ]
    assert not wrong


def test_static_functions_are_named_once():
    counts = Counter(n for p in FILES for n in _statics(p))
    assert not [n for n, times in counts.items() if times > 1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(KERNEL)))
def test_files_are_short(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= LINES_MAX
    assert lines[0].startswith("/* ")
