"""The ELF loader: programs of this host load as their headers say, and mangled ones never leave the file or user space."""

import errno
import random
import struct
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

PAGE, USER_TOP = 4096, 0x7F8000000000
PIE_BASE = 0x555555554000
LOAD, INTERP = 1, 3
ET_EXEC, ET_DYN = 2, 3
LD_SO = Path("/lib64/ld-linux-x86-64.so.2")
HEADER, PHDR = "<16sHHIQQQIHHHHHH", "<IIQQQQQQ"
ODD = [
    0,
    1,
    63,
    64,
    0xFFF,
    PAGE,
    0x10000,
    2**31,
    2**32 - 1,
    2**47,
    USER_TOP,
    USER_TOP - 1,
    USER_TOP - PAGE,
    2**62,
    2**63,
    2**64 - PAGE,
    2**64 - 1,
]


@dataclass
class Loaded:
    result: int
    entry: int
    prog_entry: int
    phdr: int
    phnum: int
    interp_base: int
    brk: int
    maps: list[tuple[int, int, int, int, int]]  # address, length, protection, whose (0 nobody's, 1, 2), offset


def load(host_program, program: bytes, interpreter: bytes = b"") -> Loaded:
    output = host_program("elf")(struct.pack("<QQ", len(program), len(interpreter)) + program + interpreter)
    *facts, n = struct.unpack_from("<8q", output)
    return Loaded(*facts, [struct.unpack_from("<5Q", output, 64 + 40 * i) for i in range(n)])


def headers(elf: bytes) -> tuple[int, int, list[tuple[int, ...]]]:
    fields = struct.unpack_from(HEADER, elf)
    phoff, phnum = fields[5], fields[10]
    return fields[1], fields[4], [struct.unpack_from(PHDR, elf, phoff + 56 * i) for i in range(phnum)]


def pages(maps: list[tuple[int, int, int, int, int]], whose: int) -> dict[int, tuple[int, int, int]]:
    """Each page of user space with what the last mapping over it made of it: protection, whose file, offset."""
    out = {}
    for at, length, prot, file, offset in maps:
        for i in range(0, length, PAGE):
            out[at + i] = (prot, file, offset + i if file else 0)
    return {at: page for at, page in out.items() if page[1] in (0, whose)}


def expected(elf: bytes, bias: int, whose: int) -> dict[int, tuple[int, int, int]]:
    out = {}
    for type_, flags, offset, vaddr, _, filesz, memsz, _ in headers(elf)[2]:
        if type_ != LOAD or not memsz:
            continue
        prot = (flags >> 2 & 1) | (flags & 2) | (flags & 1) << 2
        start = vaddr + bias & -PAGE
        for at in range(start, vaddr + bias + memsz, PAGE):
            from_file = filesz and at < vaddr + bias + filesz
            out[at] = (prot, whose, (offset & -PAGE) + at - start) if from_file else (prot, 0, 0)
    return out


def check_loaded(elf: bytes, got: Loaded) -> None:
    type_, entry, phdrs = headers(elf)
    low = min(p[3] & -PAGE for p in phdrs if p[0] == LOAD)
    bias = PIE_BASE - low if type_ == ET_DYN else 0
    assert got.prog_entry == entry + bias
    assert got.phnum == len(phdrs)
    mapped = pages(got.maps, 1)
    for at, page in expected(elf, bias, 1).items():
        assert mapped[at] == page
    high = max(p[3] + p[6] for p in phdrs if p[0] == LOAD) + bias
    assert got.brk == -(-high // PAGE) * PAGE


@pytest.mark.parametrize("path", ["/bin/sh", "/usr/bin/env", "/usr/bin/python3.11", "/lib64/ld-linux-x86-64.so.2"])
def test_programs_of_the_host(host_program, path):
    elf = Path(path).read_bytes()
    needs = any(p[0] == INTERP for p in headers(elf)[2])
    got = load(host_program, elf, LD_SO.read_bytes() if needs else b"")
    assert got.result == 0
    check_loaded(elf, got)
    if needs:
        ld = LD_SO.read_bytes()
        assert got.entry == got.interp_base + headers(ld)[1]
        mapped = pages([m for m in got.maps if m[0] >= got.interp_base], 2)
        assert all(mapped[at] == page for at, page in expected(ld, got.interp_base, 2).items())
    else:
        assert got.entry == got.prog_entry


def test_no_interpreter(host_program):
    assert load(host_program, Path("/bin/sh").read_bytes()).result == -errno.ENOENT


def small(r: random.Random) -> bytes:
    """A valid program of a few segments."""
    type_ = r.choice([ET_EXEC, ET_DYN])
    base = r.randrange(0x10, 0x1000) * PAGE if type_ == ET_EXEC else r.choice([0, 0, PAGE, 0x400000])
    interp = b"/lib/ld\0"
    n = r.randint(1, 4)
    phdrs, at = [], base
    for i in range(n):
        skew = r.randrange(PAGE) if i else 0
        filesz = r.choice([0, 100, r.randrange(3 * PAGE), PAGE - skew])
        memsz = filesz + r.choice([0, r.randrange(3 * PAGE)])
        phdrs.append((LOAD, r.randrange(8), i * PAGE + skew, at + skew, 0, filesz, memsz, PAGE))
        at += -(-(skew + memsz) // PAGE) * PAGE + r.randrange(3) * PAGE
    if r.random() < 0.5:
        phdrs.append((INTERP, 4, 64 + 56 * (n + 1), 0, 0, len(interp), len(interp), 1))
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = struct.pack(HEADER, ident, type_, 62, 1, base + r.randrange(PAGE), 64, 0, 0, 64, 56, len(phdrs), 0, 0, 0)
    body = head + b"".join(struct.pack(PHDR, *p) for p in phdrs)
    return (body if len(phdrs) > n else body + bytes(56)) + interp + r.randbytes(4 * PAGE)


def mangled(r: random.Random, elf: bytes) -> bytes:
    """Some fields of the headers get other values, and sometimes the file ends early."""
    out = bytearray(elf)
    fields = [(24, 8), (32, 8), (54, 2), (56, 2), (16, 2), (18, 2)]
    for i in range(struct.unpack_from("<H", elf, 56)[0]):
        fields += [(64 + 56 * i + at, size) for at, size in ((0, 4), (4, 4), (8, 8), (16, 8), (32, 8), (40, 8))] * 2
    for _ in range(r.randint(1, 4)):
        at, size = r.choice(fields)
        old = int.from_bytes(out[at : at + size], "little")
        value = r.choice(
            [
                r.choice(ODD),
                old + r.choice([-1, 1, PAGE, -PAGE]),
                old + r.choice(ODD),
                -r.choice(ODD),
                r.getrandbits(64),
            ]
        )
        out[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")
    return bytes(out[: r.randrange(len(out))] if r.random() < 0.1 else out)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_valid(host_program, seed):
    r = random.Random(seed)
    elf, ld = small(r), small(r)
    got = load(host_program, elf, ld)
    if any(p[0] == LOAD and p[6] for p in headers(elf)[2]):
        wanted = not any(p[0] == INTERP for p in headers(elf)[2]) or any(p[0] == LOAD and p[6] for p in headers(ld)[2])
        assert got.result == 0 or not wanted
        if not got.result and headers(ld)[0] == ET_DYN:
            check_loaded(elf, got)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_mangled(host_program, seed):
    r = random.Random(seed)
    elf, ld = small(r), small(r)
    got = load(host_program, *(mangled(r, elf), ld) if r.random() < 0.7 else (elf, mangled(r, ld)))
    assert all(at + length <= USER_TOP for at, length, *_ in got.maps)
    if got.result == 0:
        assert 0 <= got.entry < USER_TOP


FIELDS = {"type": (16, 2), "machine": (18, 2), "entry": (24, 8), "phentsize": (54, 2), "phnum": (56, 2)}
SEGMENT = {"offset": (72, 8), "vaddr": (80, 8), "filesz": (96, 8), "memsz": (104, 8)}


def one_segment(memsz: int = PAGE, entry: int = 0x400000) -> bytearray:
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = struct.pack(HEADER, ident, ET_EXEC, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return bytearray(head + struct.pack(PHDR, LOAD, 7, 0, 0x400000, 0, 100, memsz, PAGE) + bytes(4 * PAGE))


@pytest.mark.parametrize("entry", [USER_TOP, 2**63, 2**64 - 1])
def test_entry_outside_of_user_space(host_program, entry):
    assert load(host_program, bytes(one_segment(entry=USER_TOP - 1))).result == 0
    assert load(host_program, bytes(one_segment(entry=entry))).result == -errno.ENOEXEC


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            ("type", 1),
            ("machine", 3),
            ("phentsize", 55),
            ("phnum", 0),
            ("phnum", 129),
            ("offset", 1),
            ("offset", 2**62),
        ],
        *[("vaddr", USER_TOP), ("vaddr", USER_TOP - PAGE), ("vaddr", 2**64 - PAGE), ("vaddr", 0), ("vaddr", 0x401001)],
        *[("memsz", USER_TOP), ("memsz", 2**64 - 1), ("memsz", 99), ("filesz", 101), ("filesz", 2**64 - 1)],
    ],
)
def test_refused(host_program, field, value):
    """Nothing is mapped for a header that cannot be right."""
    elf = one_segment(memsz=100 if field != "vaddr" else PAGE)
    assert load(host_program, bytes(elf)).result == 0
    at, size = {**FIELDS, **SEGMENT}[field]
    elf[at : at + size] = value.to_bytes(size, "little")
    got = load(host_program, bytes(elf))
    assert (got.result, got.maps) == (-errno.ENOEXEC, [])
