"""Record locks against a model of single bytes (fcntl(2), flock(2))."""

import errno
import random
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

SET, ASK, FLOCK, CLOSE, RELEASE = range(5)
GETLK, SETLK, OFD_GETLK, OFD_SETLK = 5, 6, 36, 37
RDLCK, WRLCK, UNLCK = 0, 1, 2
SHARED, EXCLUSIVE, UNLOCK, NONBLOCK = 1, 2, 8, 4
SIZE, POSITION, MAX = 20, 10, 2**63 - 1
END = 64  # stands for all that is beyond, but for the last byte
LAST = 65

Owner = tuple[str, int]


def cell(offset: int) -> int:
    return LAST if offset == MAX else min(offset, END)


class Model:
    def __init__(self) -> None:
        self.bytes: list[dict[Owner, int]] = [{} for _ in range(LAST + 1)]
        self.whole: dict[int, int] = {}  # flock

    def in_the_way(self, owner: Owner, type_: int, span: range) -> list[tuple[Owner, int]]:
        return [(o, b) for b in span for o, t in self.bytes[b].items() if o != owner and WRLCK in (t, type_)]

    def record(self, kind: int, process: int, file: int, cmd: int, type_: int, whence: int, start: int, length: int):
        owner = ("file", file) if cmd >= OFD_GETLK else ("process", process)
        if whence > 2 or (kind == ASK and type_ == UNLCK):
            return -errno.EINVAL, None
        first = start + [0, POSITION, SIZE][whence]
        if first > MAX:
            return -errno.EOVERFLOW, None
        last = MAX if not length else first - 1 if length < 0 else first + length - 1
        if length < 0:
            first += length
        if first < 0:
            return -errno.EINVAL, None
        if last > MAX:
            return -errno.EOVERFLOW, None
        if type_ > 2:
            return -errno.EINVAL, None
        span = range(cell(first), cell(last) + 1)
        against = self.in_the_way(owner, type_, span) if type_ != UNLCK else []
        if kind == ASK:
            return 0, against
        if against:
            return -errno.EAGAIN, None
        for b in span:
            self.bytes[b].pop(owner, None)
            if type_ != UNLCK:
                self.bytes[b][owner] = type_
        return 0, None

    def flock(self, file: int, op: int) -> int:
        kind = op & ~NONBLOCK
        if kind not in (SHARED, EXCLUSIVE, UNLOCK):
            return -errno.EINVAL
        self.whole.pop(file, None)
        if kind == UNLOCK:
            return 0
        if any(EXCLUSIVE in (kind, other) for other in self.whole.values()):
            return -errno.EAGAIN
        self.whole[file] = kind
        return 0

    def forget(self, owner: Owner) -> None:
        for held in self.bytes:
            held.pop(owner, None)

    def check_answer(self, against: list[tuple[Owner, int]], got: tuple[int, ...]) -> None:
        """The lock that F_GETLK tells of is one that is in the way, and all of it."""
        type_, start, length, pid = got
        if not against:
            assert type_ == UNLCK
            return
        start, end = cell(start), cell(start + length - 1) + 1 if length else LAST + 1
        owners = {o for o, b in against if start <= b < end and pid == (100 + o[1] if o[0] == "process" else -1)}
        assert any(
            all(self.bytes[b].get(o) == type_ for b in range(start, end))
            and (start == 0 or self.bytes[start - 1].get(o) != type_)
            and (end > LAST or self.bytes[end].get(o) != type_)
            for o in owners
        ), got


def run(host_program, commands: list[tuple[int, ...]]) -> None:
    output = host_program("locks")(b"".join(struct.pack("<4I2i2q", *c) for c in commands))
    model = Model()
    for command, got in zip(commands, struct.iter_unpack("<5q", output), strict=True):
        kind, process, file, cmd, *lock = command
        if kind in (SET, ASK):
            result, against = model.record(kind, process, file, cmd, *lock)
            assert got[0] == result, command
            if against is not None:
                model.check_answer(against, got[1:])
        elif kind == FLOCK:
            assert got[0] == model.flock(file, cmd), command
        elif kind == CLOSE:
            model.forget(("process", process))
        else:
            model.forget(("file", file))
            model.whole.pop(file, None)


def random_commands(seed: int, n: int) -> list[tuple[int, ...]]:
    r = random.Random(seed)

    def command() -> tuple[int, ...]:
        who = (r.randrange(3), r.randrange(4))
        kind = r.choice([SET] * 6 + [ASK] * 3 + [FLOCK, FLOCK, CLOSE, RELEASE])
        if kind == FLOCK:
            return (kind, *who, r.choice([SHARED, EXCLUSIVE, UNLOCK, 0]) | NONBLOCK, 0, 0, 0, 0)
        ofd = r.random() < 0.4
        cmd = (OFD_SETLK if ofd else SETLK) if kind == SET else OFD_GETLK if ofd else GETLK
        whence = r.choice([0, 0, 0, 1, 2, 3] if r.random() < 0.3 else [0])
        start = r.choice([r.randrange(0, 40), r.randrange(-25, 40)] if r.random() < 0.2 else [r.randrange(16)])
        length = r.choice(
            [0, r.randrange(-8, 20), r.randrange(1, 10), MAX] if r.random() < 0.4 else [r.randrange(1, 8)]
        )
        return (kind, *who, cmd, r.choice([RDLCK, RDLCK, WRLCK, WRLCK, UNLCK]), whence, start, length)

    return [command() for _ in range(n)]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 200))
def test_locks(host_program, seed, n):
    run(host_program, random_commands(seed, n))


def test_all_but_the_last_byte_is_let_go(host_program):
    run(host_program, random_commands(7881870, 119))


def test_beyond_the_largest_offset(host_program):
    """A range that ends beyond the largest offset is refused, as Linux does, and not taken for another one."""
    run(
        host_program,
        [(SET, 0, 0, SETLK, WRLCK, whence, MAX - 5, length) for whence in (0, 1) for length in (5, 6, 7, MAX)],
    )


def test_neighbours_are_one(host_program):
    """Locks of one owner that touch are one lock for who asks."""
    one, two = (SET, 0, 0, SETLK, WRLCK, 0, 0, 5), (SET, 0, 0, SETLK, WRLCK, 0, 5, 5)
    run(host_program, [one, two, (ASK, 1, 1, GETLK, WRLCK, 0, 0, 20)])
