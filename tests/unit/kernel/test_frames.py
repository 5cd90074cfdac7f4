"""The frame allocator against a model: what it hands out was free, what it says is free is exact, and memory stays low."""

import random
import struct
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

PAGE = 4096
SLOT = 16384  # frames
LIMIT = 3 * SLOT
MAX_ORDER = 10
FIRST = 0x200000 + 0x100000  # of the kernel image, where it ends
META = SLOT * 24 // PAGE  # frames of a slot's frame array
ALLOC, ALLOC_ZERO, DROP, SHARE = range(4)


def random_commands(seed: int, n: int) -> list[tuple[int, int]]:
    r = random.Random(seed)
    alloc, large = r.uniform(0.4, 0.8), r.choice([2, 2, MAX_ORDER + 1])
    return [
        (r.choice([ALLOC, ALLOC_ZERO]), r.choice([r.randint(0, 2), r.randint(0, large)]))
        if r.random() < alloc
        else (r.choice([DROP, DROP, DROP, SHARE]), r.randrange(1000))
        for _ in range(n)
    ]


def run_of(frame: int, order: int) -> int:
    return ((1 << (1 << order)) - 1) << frame


@dataclass
class Model:
    """Free frames as the bits of a number, and the blocks that are in use."""

    total: int = 0
    free: int = 0
    live: list[tuple[int, int]] = field(default_factory=list)

    def grow(self, total: int) -> None:
        while self.total < total:
            reserved = META if self.total else FIRST // PAGE + META + 2  # the last: the bitmap
            self.free |= ((1 << (SLOT - reserved)) - 1) << (self.total + reserved)
            self.total += SLOT

    def holes(self, order: int) -> list[int]:
        """Where a block of this order would fit."""
        return [
            at for at in range(0, self.total, 1 << order) if (self.free >> at) & run_of(0, order) == run_of(0, order)
        ]

    def allocated(self, address: int, order: int, grown: bool) -> None:
        if not address:
            assert order > MAX_ORDER or (self.total == LIMIT and not self.holes(order))
            return
        frame = address // PAGE
        assert order <= MAX_ORDER
        assert frame % (1 << order) == 0
        assert self.free & run_of(frame, order) == run_of(frame, order)
        whole = self.holes(MAX_ORDER)
        if frame & ~(SLOT // 16 - 1) in whole:
            assert frame == whole[0], "of the blocks of 4 MiB that are free, the lowest"
            if not grown:
                assert all(at & ~1023 in whole for at in self.holes(order)), "and only when nothing smaller would do"
        self.free &= ~run_of(frame, order)
        self.live.append((frame, order))

    def dropped(self, address: int, number: int) -> None:
        i = number % len(self.live)
        frame, order = self.live[i]
        assert address == frame * PAGE
        self.live[i] = self.live[-1]
        self.live.pop()
        if (frame, order) not in self.live:
            self.free |= run_of(frame, order)

    def shared(self, address: int, number: int) -> None:
        frame, order = self.live[number % len(self.live)]
        assert address == (0 if order else frame * PAGE)
        if not order:
            self.live.append((frame, 0))


def replay(output: bytes, commands: list[tuple[int, int]]) -> Model:
    model, size = Model(), 32 + LIMIT // 8
    assert len(output) == size * (len(commands) + 1)
    for i, (kind, number) in enumerate([(None, 0), *commands]):
        result, total, free, used = struct.unpack_from("<4Q", output, size * i)
        grown = total != model.total
        if grown and i:
            assert kind in (ALLOC, ALLOC_ZERO)
            assert number <= MAX_ORDER
            assert model.free.bit_count() < 64 or not model.holes(number), "RAM grows only when it runs short"
        model.grow(total)
        if kind in (ALLOC, ALLOC_ZERO):
            model.allocated(result, number, grown)
        elif kind is not None and model.live:
            (model.dropped if kind == DROP else model.shared)(result, number)
        assert int.from_bytes(output[size * i + 32 : size * (i + 1)], "little") == model.free, (i, kind, number)
        assert free == model.free.bit_count()
        assert used == (model.total - free) * PAGE
    return model


def run(host_program, commands: list[tuple[int, int]]) -> Model:
    return replay(host_program("frames")(b"".join(struct.pack("<II", *c) for c in commands)), commands)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 200))
def test_frames(host_program, seed, n):
    run(host_program, random_commands(seed, n))


def test_neighbours_in_use(host_program):
    """Free frames beside one that is in use do not become a block with it."""
    run(host_program, [*[(ALLOC, 0)] * 8, *[(DROP, i) for i in (2, 0, 1)], *[(ALLOC, 2)] * 4])


def test_memory_is_reused_before_new_memory(host_program):
    """A block of 4 MiB that comes back goes before all that were never used, wherever it lies among those that came back."""
    run(host_program, [*[(ALLOC, MAX_ORDER)] * 6, (DROP, 1), (DROP, 0), (DROP, 2), *[(ALLOC, MAX_ORDER)] * 4])


def test_more_than_a_block_can_hold(host_program):
    """What no block could ever hold brings no RAM."""
    assert run(host_program, [(ALLOC, MAX_ORDER + 1)]).total == SLOT


def test_everything_comes_back(host_program):
    full = [(ALLOC, 5)] * 1600
    model = run(host_program, [*full, *[(DROP, 7)] * 1600, (ALLOC, MAX_ORDER)])
    assert len(model.live) == 1
