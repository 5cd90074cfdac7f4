"""Builds the C programs of this folder with the kernel's own sources, under AddressSanitizer and UBSan. README.md has the rules."""

import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KERNEL = HERE.parents[2] / "qkernel"
FLAGS = (
    *("-std=gnu17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    "-fno-sanitize=alignment",  # x86-64 code may read words unaligned, and lib/string.c does
    *("-D__QKERNEL__", "-DHOST_TEST", "-iquote", str(KERNEL / "include"), "-iquote", str(HERE)),
)
# Functions of qkernel/lib that the C library (and so the sanitizers' run time) has too.
SHARED_NAMES = [
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "strlen",
    "strnlen",
    "strcmp",
    "strncmp",
    "strchr",
    "strrchr",
    "strlcpy",
    "snprintf",
    "vsnprintf",
]

Program = Callable[[bytes], bytes]


def build(source: Path, output: Path) -> None:
    """Compile and link one program; fails the test with the compiler's words."""
    match = re.search(r"sources:(.*)", source.read_text())
    assert match, f"{source}: no line `sources: ...`"
    sources = match[1].removesuffix("*/").split()
    renames = [f"-D{name}=kernel_{name}" for name in SHARED_NAMES] if any(s.startswith("lib/") for s in sources) else []
    command = ["gcc", *FLAGS, *renames, "-o", str(output), str(source), *(str(KERNEL / s) for s in sources)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{source.name} does not compile:\n{done.stdout}", pytrace=False)


@pytest.fixture(scope="session")
def host_program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Program]:
    """Return a function from the name of a program here to that program: a function from its input to its output."""
    folder = tmp_path_factory.mktemp("kernel")

    @cache
    def program(name: str) -> Program:
        path = folder / name
        build(HERE / f"{name}.c", path)

        def run(stdin: bytes) -> bytes:
            done = subprocess.run([path], input=stdin, capture_output=True, check=False, timeout=60)
            if done.returncode:
                text = (done.stdout + done.stderr).decode(errors="replace")
                pytest.fail(f"{name} ended with status {done.returncode}:\n{text}", pytrace=False)
            return done.stdout

        return run

    return program
