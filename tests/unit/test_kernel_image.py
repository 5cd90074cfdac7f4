"""The kernel ELF that is installed with QVisor: what QVisor's loader and the snapshots' version check rely on."""

import re
import subprocess
from importlib import resources
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def constant(name):
    match = re.search(rf"#define {name} (0x[0-9a-f]+)", (REPOSITORY / "qkernel/include/quark_abi.h").read_text())
    return int(match[1], 16)


@pytest.fixture(scope="module")
def kernel():
    path = Path(str(resources.files("qvisor").joinpath("data/qkernel.elf")))
    assert path.exists(), "the kernel is not built: run make"
    return path


def readelf(kernel, *options):
    return subprocess.check_output(["readelf", "-W", *options, kernel], text=True)


def test_is_a_fixed_static_executable(kernel):
    assert re.search(r"Type: +EXEC", readelf(kernel, "-h"))
    assert "no dynamic section" in readelf(kernel, "-d")
    assert "no relocations" in readelf(kernel, "-r")
    assert "INTERP" not in readelf(kernel, "-l")


def test_segments_are_in_the_kernel_slot_and_never_writable_and_executable(kernel):
    loads = re.findall(r"LOAD +\S+ (0x\w+) \S+ \S+ (0x\w+) ([R ][W ][E ])", readelf(kernel, "-l"))
    base = constant("QK_KERNEL_BASE")
    first_slot = 64 << 20
    assert loads
    for address, size, flags in loads:
        assert base <= int(address, 16)
        assert int(address, 16) + int(size, 16) <= base + first_slot - constant("QK_GPA_KERNEL")
        assert flags not in ("RWE", " WE")


def test_entry_is_code(kernel):
    entry = int(re.search(r"Entry point address: +(0x\w+)", readelf(kernel, "-h"))[1], 16)
    loads = re.findall(r"LOAD +\S+ (0x\w+) \S+ \S+ (0x\w+) ([R ][W ][E ])", readelf(kernel, "-l"))
    assert [a for a, size, flags in loads if "E" in flags and int(a, 16) <= entry < int(a, 16) + int(size, 16)]


def test_has_a_build_id(kernel):
    assert re.search(r"Build ID: [0-9a-f]{40}", readelf(kernel, "-n"))


def test_does_not_touch_vector_registers(kernel):
    """They hold the program's values: the kernel saves them only when it switches tasks."""
    code = subprocess.check_output(["objdump", "-d", "--no-show-raw-insn", kernel], text=True)
    assert re.search(r"%rsp", code)
    assert re.findall(r".*%[xyz]mm.*", code) == []


def test_does_not_name_the_build_folder(kernel):
    assert str(REPOSITORY).encode() not in kernel.read_bytes()
