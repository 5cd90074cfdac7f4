"""Guests of more than 4 GiB, where the bytes of a run of pages need more than 32 bits. tests/border has a sparse guest."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from qvisor._native import ffi, lib
from snapshotd.image import GAP_PAGES, MAPS
from snapshotd.metadata import Metadata
from snapshotd.store import Store

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


def test_more_pieces_than_the_host_can_map(quark):
    """Every 34th page of memory is kept, so often that their mappings would be more than vm.max_map_count."""
    limit = int(Path(MAPS).read_text())
    pieces = limit // 2 + 100
    if pieces > 50_000:
        pytest.skip(f"vm.max_map_count is {limit}: a snapshot of more pieces takes too much memory")
    script = "echo ready >/dev/quark; read word </dev/quark; echo restored"
    assert quark("snapshot", "create", "s", "--ready-file", "--", "/bin/sh", "-c", script).status == 0
    with Store.open(quark.root) as store:
        meta = Metadata.load(store.get("s").meta)
        first, step = meta.ram_bytes // PAGE, GAP_PAGES + 2
        size = -(-(first + pieces * step) * PAGE // lib.QK_SLOT_SIZE) * lib.QK_SLOT_SIZE
        wide = replace(meta, ram_bytes=size, spec={**meta.spec, "memory": size})
        page = memoryview(os.urandom(PAGE))
        pages = ((first + i * step, page) for i in range(pieces))
        store.create_snapshot("wide", wide.dump(), pages, frames=size // PAGE, parent="s")
    done = quark("run", "--from-snapshot", "wide")
    assert (done.status, done.out) == (0, "restored\n"), done
    said = (quark.root / "run" / "default" / "pager.log").read_text()
    assert (said.count("\n"), "raise vm.max_map_count" in said) == (1, True), said
