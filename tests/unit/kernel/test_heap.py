"""The kernel heap: objects do not overlap, keep what they hold, and cost no more frames than they must."""

import random
import struct
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

PAGE = 4096
CLASSES = [32, 64, 128, 256, 512, 1008, 2032, 4080]
LARGEST = (4 << 20) - 64  # of what one block of the frame allocator holds
ALLOC, ALLOC_ZERO, RESIZE, FREE = range(4)


def random_commands(seed: int, n: int) -> list[tuple[int, int, int]]:
    r = random.Random(seed)
    near = [c + d for c in [*CLASSES, *(size - 64 for size in (4096, 8192, 65536))] for d in (-1, 0, 1)]
    kinds = [ALLOC, ALLOC_ZERO, RESIZE, FREE, *r.choice([[ALLOC], [FREE]])]
    return [(r.choice(kinds), r.randrange(1000), r.choice([r.randrange(5000), *r.sample(near, 3)])) for _ in range(n)]


def class_of(size: int) -> int | None:
    return next((c for c in CLASSES if size <= c), None)


def frames_of(size: int) -> int:
    """What a large object takes: the smallest block that holds it and its header."""
    frames = 1
    while frames * PAGE < size + 64:
        frames *= 2
    return frames


@dataclass
class Model:
    live: list[tuple[int, int]] = field(default_factory=list)  # address, size it was made for
    objects: Counter = field(default_factory=Counter)
    peak: Counter = field(default_factory=Counter)
    large: int = 0

    def add(self, address: int, size: int) -> None:
        assert address % 8 == 0
        assert all(address + size <= at or at + n <= address for at, n in self.live), "objects overlap"
        self.live.append((address, size))
        cls = class_of(size)
        if cls is None:
            self.large += frames_of(size)
        else:
            self.objects[cls] += 1
            self.peak[cls] = max(self.peak[cls], self.objects[cls])

    def take(self, which: int) -> tuple[int, int]:
        i = which % len(self.live)
        address, size = self.live[i]
        self.live[i] = self.live[-1]
        self.live.pop()
        cls = class_of(size)
        if cls is None:
            self.large -= frames_of(size)
        else:
            self.objects[cls] -= 1
        return address, size

    def resize(self, address: int, which: int, size: int) -> None:
        old, before = self.take(which)
        holds = class_of(before) or frames_of(before) * PAGE - 64
        if size <= holds:
            assert address == old, "an object that fits stays where it is"
            self.add(old, before)
        else:
            self.add(address, size)

    def frames(self) -> int:
        pages = sum(-(-n // ((PAGE - 16) // cls)) for cls, n in self.peak.items())
        return pages + self.large


def run(host_program, commands: list[tuple[int, int, int]]) -> None:
    output = host_program("heap")(b"".join(struct.pack("<III", *c) for c in commands))
    (first,) = struct.unpack_from("<Q", output)
    model = Model()
    for (kind, which, size), (address, free, total) in zip(
        commands, struct.iter_unpack("<QQQ", output[8:]), strict=True
    ):
        if kind in (ALLOC, ALLOC_ZERO):
            if size > LARGEST:
                assert address == 0
            else:
                model.add(address, size)
        elif model.live and kind == RESIZE:
            model.resize(address, which, size)
        elif model.live:
            assert model.take(which)[0] == address
        assert first - free == model.frames()
        assert total == 16384


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 150))
def test_heap(host_program, seed, n):
    run(host_program, random_commands(seed, n))


def test_largest(host_program):
    """Beyond what one block holds there is nothing, and asking brings no RAM."""
    run(host_program, [(ALLOC, 0, LARGEST), (ALLOC, 0, LARGEST + 1), (ALLOC, 0, 5 << 20), (FREE, 0, 0), (ALLOC, 0, 0)])


def test_many_of_a_class(host_program):
    run(host_program, [*[(ALLOC, 0, 1000)] * 400, *[(FREE, 3, 0)] * 400, *[(ALLOC_ZERO, 0, 1000)] * 400])
