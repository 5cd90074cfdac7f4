"""The border between guest and host: whatever a guest asks for, QVisor touches RAM, the comm area and the host roots, and nothing else."""

import errno
import os
import random
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CALL, SEGMENTS, EVENT = range(3)
RAM, SEG_MAX, DATA, RING = 0x8000, 1024, 0x10000, 512
ABI = Path(__file__).parents[3] / "qkernel" / "include" / "quark_abi.h"
OPERATIONS = re.findall(
    r"^\t(QC_\w+)", re.search(r"^enum qk_op \{(.*?)^\};", ABI.read_text(), re.DOTALL | re.MULTILINE)[1], re.MULTILINE
)
LOG, LOOKUP, OPEN, PREAD, PWRITE, SETATTR, LAST = (
    OPERATIONS.index(f"QC_{name}") for name in ("LOG", "LOOKUP", "OPEN", "PREAD", "PWRITE", "SETATTR", "OP_COUNT")
)
ATIME, MTIME = 4, 8
# In place of this a request has the absolute path of `secret`. It must be a file of the test: a server that lets requests out of its roots would
# unlink it, and the test may run as root.
ABSOLUTE = "/absolute"
NAMES = [
    "",
    "file",
    "dir/inner",
    "out",
    "out/secret",
    "dir/../../secret",
    "../secret",
    ABSOLUTE,
    "loop",
    "new",
    "dir//inner",
    "dir/back",
    ".",
]


def request(
    kind: int, op: int = 0, args=(), segs=(), nseg: int | None = None, data: bytes = b"", size: int | None = None
) -> bytes:
    head = struct.pack(
        "<6I", kind, op, len(segs) if nseg is None else nseg, len(data) if size is None else size, len(segs), len(data)
    )
    words = [*args, *[0] * (6 - len(args))]
    return head + struct.pack("<6Q", *words) + b"".join(struct.pack("<QQ", *s) for s in segs) + data


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("host")


def fill(folder: Path) -> None:
    """Two roots, each with links that lead out of it, and what must not be reached beside them."""
    for root in ("root", "volume"):
        shutil.rmtree(folder / root, ignore_errors=True)
        (folder / root / "dir").mkdir(parents=True)
        (folder / root / "file").write_bytes(bytes(range(256)) * 64)
        (folder / root / "dir" / "inner").write_text("inner")
        (folder / root / "out").symlink_to(folder)
        (folder / root / "loop").symlink_to("loop")
        (folder / root / "dir" / "back").symlink_to("../../secret")
    (folder / "secret").write_text("SECRET")


def state(folder: Path, *, all_of_it: bool) -> dict[str, tuple]:
    names = [folder, folder / "secret", *((folder / "root").rglob("*") if all_of_it else [])]
    return {
        str(p): (p.lstat().st_mode, p.lstat().st_uid, p.lstat().st_mtime_ns, p.is_file() and p.read_bytes())
        for p in names
    }


def numbers(r: random.Random) -> int:
    return r.choice(
        [
            r.randrange(8),
            r.randrange(RAM + 10),
            r.choice([RAM, RAM - 1, RAM - 4096, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 4096]) - r.randrange(2),
            r.getrandbits(64),
        ]
    )


def segments(r: random.Random) -> list[tuple[int, int]]:
    good = [(r.randrange(RAM - 512), r.randrange(512)) for _ in range(r.randrange(6))]
    bad = [(numbers(r), numbers(r)) for _ in range(r.choice([0, 0, 1, 2]))]
    return good + bad


def random_requests(seed: int, n: int, folder: Path) -> list[bytes]:
    r = random.Random(seed)

    def name() -> bytes:
        chosen = r.choice(NAMES)
        return os.fsencode(folder / "secret") if chosen == ABSOLUTE else chosen.encode()

    def one() -> bytes:
        op = r.choice([r.randint(LOG, LAST + 2), r.randint(LOOKUP, LAST - 1), OPEN, PREAD, PWRITE])
        data = b"\0".join(name() for _ in range(r.choice([1, 1, 2, 2, 3]))) + r.choice([b"\0", b"\0", b""])
        if r.random() < 0.1:
            data = r.choice([b"a" * 5000, b"a/" * 3000, r.randbytes(200), b""])
        size = r.choice([len(data)] * 4 + [0, DATA, DATA + 1, 2**32 - 1])
        args = [numbers(r) for _ in range(6)]
        args[0] = r.choice([r.randrange(8), r.randrange(2), args[0]])
        if op == OPEN:
            args[:3] = r.randrange(3), r.choice([0, 1, 2, 0o102, 0o1002, r.getrandbits(22)]), 0o644
        elif op in (PREAD, PWRITE):
            args[1] = r.choice([0, 100, args[1]])
        segs = segments(r)
        return request(CALL, op, args, segs, r.choice([len(segs)] * 6 + [SEG_MAX, SEG_MAX + 1, 2**32 - 1]), data, size)

    return [one() for _ in range(n)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 150))
def test_requests(host_program, folder, seed, n):
    fill(folder)
    before = state(folder, all_of_it=True)
    output = host_program("requests")(b"".join(random_requests(seed, n, folder)), folder)
    assert len(output) == 8 * n
    after = state(folder, all_of_it=True)
    assert after == before, "something outside of the writable root has changed"


def test_long_walk(host_program, folder):
    """A path of more components than the data area has room for ends where the room does."""
    fill(folder)
    at = os.open(folder / "root", os.O_PATH)
    for _ in range(1000):
        os.mkdir("d", dir_fd=at)
        at, above = os.open("d", os.O_PATH, dir_fd=at), at
        os.close(above)
    os.close(at)
    output = host_program("requests")(request(CALL, LOOKUP, (0,), data=b"d/" * 1000 + b"d\0"), folder)
    subprocess.run(["rm", "-r", folder / "root" / "d"], check=True)  # too deep for shutil
    (found,) = struct.unpack("<q", output)
    assert 500 < found < 1000


def test_time_stamps_at_the_end_of_time(host_program, folder):
    """A guest can give a file of its volume the latest time there is; the next look at it is no overflow."""
    fill(folder)
    late = request(CALL, SETATTR, (1, ATIME | MTIME, 0, 0, 2**64 - 1, 2**64 - 1), data=b"file\0")
    output = host_program("requests")(late + request(CALL, LOOKUP, (1,), data=b"file\0"), folder)
    assert struct.unpack("<2q", output) == (0, 1)


@settings(max_examples=20, deadline=None)
@given(
    segs=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=3),
    seed=st.integers(0, 2**32),
)
def test_segments(host_program, folder, segs, seed):
    """A list is taken when all its pieces lie in RAM, and each is what it says."""
    fill(folder)
    r = random.Random(seed)
    lists = [segs, *(segments(r) for _ in range(50))]
    output, at = host_program("requests")(b"".join(request(SEGMENTS, segs=s) for s in lists), folder), 0
    for pieces in lists:
        (n,) = struct.unpack_from("<q", output, at)
        at += 8
        if any(gpa + length > RAM for gpa, length in pieces):
            assert n == -errno.EFAULT
        else:
            assert n == len(pieces)
            assert [struct.unpack_from("<QQ", output, at + 16 * i) for i in range(n)] == pieces
            at += 16 * n


@pytest.mark.parametrize("nseg", [SEG_MAX + 1, 2**31, 2**32 - 1])
def test_too_many_segments(host_program, folder, nseg):
    fill(folder)
    assert host_program("requests")(request(SEGMENTS, nseg=nseg), folder) == struct.pack("<q", -errno.EINVAL)


def test_event_ring(host_program, folder):
    """An event goes in when there is room for it, whatever the guest has made of the two counters."""
    fill(folder)
    counters = [
        (0, 0),
        (5, 5),
        (RING - 1, 0),
        (RING, 0),
        (RING, 1),
        (0, 5),
        (2**32 - 1, 2**32 - 1),
        (3, 2**32 - 4),
        (2**31, 0),
    ]
    output = host_program("requests")(b"".join(request(EVENT, args=(3, *c)) for c in counters), folder)
    for (head, tail), moved in zip(counters, struct.unpack(f"<{len(counters)}q", output), strict=True):
        assert (moved & 0xFFFFFFFF) == ((head - tail) % 2**32 < RING)
