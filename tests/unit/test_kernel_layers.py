"""The guest kernel's layers: what a file includes, and what it calls, is of its own layer or of a lower one (docs/architecture.md, "Layers")."""

import re
import subprocess
from pathlib import Path

KERNEL = Path(__file__).parents[2] / "qkernel"
FOLDERS = {"vdso": 0, "lib": 0, "arch": 1, "mm": 2, "proc": 3, "fs": 3, "net": 3, "ipc": 3, "init": 4}
# The headers of qkernel/include; those not named here are of the system calls' layer.
HEADERS = {
    **dict.fromkeys(["types.h", "errno.h", "klib.h", "heap.h"], "lib"),
    **dict.fromkeys(["quark_abi.h", "arch.h", "qcall.h"], "arch"),
    **dict.fromkeys(["mm.h", "uaccess.h"], "mm"),
}
# The entry paths call what the layers above have for a program's system calls and exceptions. Whoever is in trouble can end the sandbox.
ENTRY = {"syscall_dispatch", "trap_dispatch", "return_to_user_work", "kmain"}
ANYWHERE = {"klog", "panic"}
GENERATED = {"syscall_table.inc"}


def _layer(path: Path) -> int:
    folder = path.relative_to(KERNEL).parts[0]
    return FOLDERS[HEADERS.get(path.name, "proc") if folder == "include" else folder]


def _included(path: Path) -> list[Path]:
    names = re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.MULTILINE)
    found = [
        (path.parent / n if (path.parent / n).exists() else KERNEL / "include" / n).resolve()
        for n in names
        if n not in GENERATED
    ]
    assert all(p.exists() for p in found), path
    return found


def _all_included(path: Path) -> set[Path]:
    """What the compiler sees of the kernel when it compiles this file."""
    seen: set[Path] = set()
    ahead = [path]
    while ahead:
        new = set(_included(ahead.pop())) - seen
        seen |= new
        ahead.extend(new)
    return seen


def test_includes_go_down():
    sources = [p for folder in [*FOLDERS, "include"] for p in (KERNEL / folder).rglob("*.[chS]")]
    assert len(sources) > 100
    wrong = [
        f"{p.relative_to(KERNEL)} includes {q.name}" for p in sources for q in _included(p) if _layer(q) > _layer(p)
    ]
    assert not wrong


def test_lower_layers_know_no_task_and_no_file():
    """Written out, because it is what the order is for: in arch and mm there is no name of a task, a process, an inode or an open file."""
    above = re.compile(r"^struct (task|process|inode|file|files|path|mount|fs_ctx) \{", re.MULTILINE)
    homes = {p.name for p in (KERNEL / "include").glob("*.h") if above.search(p.read_text())}
    assert homes == {"task.h", "inode.h", "file.h", "fdtable.h", "path.h", "mount.h", "fsctx.h"}
    lower = [p for folder in ["lib", "arch", "mm"] for p in (KERNEL / folder).rglob("*.[chS]")]
    wrong = [f"{p.relative_to(KERNEL)} sees {q.name}" for p in lower for q in _all_included(p) if q.name in homes]
    assert not wrong


def test_every_header_has_a_layer():
    assert {p.name for p in (KERNEL / "include").glob("*.h")} >= set(HEADERS)
    folders = {p.relative_to(KERNEL).parts[0] for p in KERNEL.rglob("*/*.[chS]")}
    assert folders == {*FOLDERS, "include", "reseed"}  # the last is a program of the guest's


def test_calls_go_down(tmp_path):
    """A declaration of one's own would hide a call from the includes; the linker's names do not."""
    flags = [
        "-std=gnu17",
        "-ffreestanding",
        "-D__QKERNEL__",
        "-mgeneral-regs-only",
        "-w",
        "-fno-pie",
        f"-I{KERNEL / 'include'}",
    ]
    defined: set[str] = {"_kernel_end", "_text_start", "_text_end"} | ANYWHERE
    for folder in ["lib", "arch", "mm"]:
        objects = []
        for source in sorted((KERNEL / folder).glob("*.[cS]")):
            objects.append(tmp_path / f"{folder}-{source.name}.o")
            subprocess.run(["gcc", *flags, "-c", "-o", objects[-1], source], check=True)
        names = subprocess.run(["nm", "-A", *objects], check=True, capture_output=True, text=True).stdout.splitlines()
        defined |= {line.split()[-1] for line in names if " U " not in line}
        missing = {line for line in names if " U " in line and line.split()[-1] not in defined}
        assert {line.split()[-1] for line in missing} <= (ENTRY if folder == "arch" else set()), missing
