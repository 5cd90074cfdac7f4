"""Guests of more than 4 GiB, where the bytes of a run of pages need more than 32 bits. tests/border has a sparse guest."""

import os

import pytest

from qvisor._native import ffi, lib

GIB = 1 << 30
PAGE = 4096
MEMORY = 8 * GIB
PYTHON = "/usr/bin/python3.11"


@pytest.fixture
def machine():
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    out = ffi.new("struct qv **")
    assert lib.qv_create(kvm, MEMORY, out) == 0
    yield out[0]
    lib.qv_destroy(out[0])
    os.close(kvm)


@pytest.fixture
def image():
    """A sparse image with a mark in every GiB."""
    fd = os.memfd_create("image", os.MFD_CLOEXEC)
    os.ftruncate(fd, MEMORY)
    for i in range(MEMORY // GIB):
        os.pwrite(fd, b"mark%d" % i, i * GIB + 7 * PAGE)
    yield fd
    os.close(fd)


def runs(*parts):
    return ffi.new("struct qv_page_run[]", [{"gfn": gfn, "pages": pages, "kind": 0} for gfn, pages in parts])


@pytest.mark.parametrize("gib", [3, 4, 5, 8])
def test_a_run_is_mapped_whole(machine, image, gib):
    assert lib.qv_map_image(machine, MEMORY, image, runs((0, gib * GIB // PAGE)), 1) == 0
    for i in range(MEMORY // GIB):
        expected = b"mark%d" % i if i < gib else bytes(5)
        assert bytes(ffi.buffer(lib.qv_ram(machine) + i * GIB + 7 * PAGE, 5)) == expected, i


@pytest.mark.parametrize(
    ("gfn", "pages"),
    [
        (0, MEMORY // PAGE + 1),
        (MEMORY // PAGE, 1),
        (MEMORY // PAGE - 1, 2),
        (1, 2**32 - 1),
        (2**52, 1),
        (2**52 - 1, 1),
        (2**64 - 1, 2),
    ],
)
def test_a_run_that_ends_beyond_memory_is_refused(machine, image, gfn, pages):
    assert lib.qv_map_image(machine, MEMORY, image, runs((gfn, pages)), 1) < 0
    assert lib.qv_uffd(machine, runs((gfn, pages)), 1) < 0
    assert lib.qv_populate(machine, runs((gfn, pages)), 1) == 0


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_program_that_fills_5_gib(quark):
    code = (
        "parts = [bytes([i]) * (256 << 20) for i in range(1, 21)]\n"
        "q = open('/dev/quark', 'r+b', buffering=0); q.write(b'ready\\n')\n"
        "print(all(p[0] == p[-1] == p[len(p) // 2] == i for i, p in enumerate(parts, 1)), len(parts))"
    )
    done = quark("snapshot", "create", "big", "--ready-file", "--memory", "7G", "--", PYTHON, "-c", code, timeout=600)
    assert done.status == 0, done
    assert quark("run", "--from-snapshot", "big", timeout=250).out == "True 20\n"
