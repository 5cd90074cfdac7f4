"""Builds the C programs of this folder with the kernel's own sources, under AddressSanitizer and UBSan. README.md has the rules."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KERNEL = HERE.parents[2] / "qkernel"
NATIVE = HERE.parents[2] / "qvisor" / "native"
sys.path.insert(0, str(HERE))  # models that tests import
FLAGS = (
    *("-std=gnu17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    "-fno-sanitize=alignment",  # x86-64 code may read words unaligned, and lib/string.c does
    *("-DHOST_TEST", "-iquote", str(KERNEL / "include"), "-iquote", str(HERE)),
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

Program = Callable[..., bytes]


def words_after(label: str, text: str) -> list[str]:
    match = re.search(rf"\b{label}:(.*)", text)
    return match[1].removesuffix("*/").split() if match else []


def build(source: Path, output: Path) -> None:
    """Compile and link one program; fails the test with the compiler's words."""
    text = source.read_text()
    kernel, native = words_after("sources", text), words_after("qvisor", text)
    assert kernel or native, f"{source}: no line `sources: ...`"
    flags = ["-D__QKERNEL__"] if kernel else ["-D_GNU_SOURCE", "-iquote", str(NATIVE)]
    for name in words_after("before", text):
        flags += ["-include", str(HERE / name) if (HERE / name).exists() else name]
    if any(s.startswith("lib/") for s in kernel):
        flags += [f"-D{name}=kernel_{name}" for name in SHARED_NAMES]
    found = {path for s in native for path in NATIVE.glob(s)}
    files = [source, *(KERNEL / s for s in kernel), *sorted(found)]
    command = ["gcc", *FLAGS, *flags, "-o", str(output), *map(str, files)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{source.name} does not compile:\n{done.stdout}", pytrace=False)


@pytest.fixture(scope="session")
def host_program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Program]:
    """Return a function from the name of a program here to that program: a function from its input (and arguments) to its output."""
    folder = tmp_path_factory.mktemp("kernel")

    broken: dict[str, str] = {}

    @cache
    def program(name: str) -> Program:
        path = folder / name
        if name in broken:  # said at once: hypothesis tries many times to find a smaller example of it
            pytest.fail(broken[name], pytrace=False)
        try:
            build(HERE / f"{name}.c", path)
        except pytest.fail.Exception as e:
            broken[name] = str(e)
            raise

        def run(stdin: bytes, *args: str | Path) -> bytes:
            done = subprocess.run([path, *args], input=stdin, capture_output=True, check=False, timeout=60)
            if done.returncode:
                text = (done.stdout + done.stderr).decode(errors="replace")
                pytest.fail(f"{name} ended with status {done.returncode}:\n{text}", pytrace=False)
            return done.stdout

        return run

    return program
