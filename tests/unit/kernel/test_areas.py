"""Address spaces against a model of single pages: what is mapped where, with which rights, and what is read there."""

import random
import struct
from itertools import pairwise

import areas_model as m
from hypothesis import given, settings
from hypothesis import strategies as st

PAGE = m.PAGE
MAP, UNMAP, PROTECT, REMAP, ADVISE, READ, WRITE, FORK, SWITCH, BRK, CUT = range(11)
METHODS = ["map", "unmap", "protect", "remap", "advise", "read", "write", "fork", "switch", "set_brk", "cut"]

ADVICE = [m.DONTNEED, m.DONTFORK, m.DOFORK, m.WIPE, m.KEEP]
KINDS = [m.PRIVATE | m.ANONYMOUS] * 3 + [m.SHARED | m.ANONYMOUS, m.PRIVATE, m.PRIVATE, m.SHARED]


def sweep(kind: int, at: int, n: int, value: int) -> list[tuple]:
    return [(kind, at + i * PAGE, value + i) if kind == WRITE else (kind, at + i * PAGE) for i in range(n)]


def random_commands(seed: int, n: int) -> list[tuple]:
    """Drawn by a generator of our own: hypothesis likes its examples small, and they meet only in a crowd."""
    r = random.Random(seed)

    def at(pages: int = 24) -> int:
        return m.WINDOW + r.randrange(pages) * PAGE

    def length() -> int:
        return r.choice([1, 1, 2, 3, 4, 16]) * PAGE

    def mapping() -> tuple:
        flags = r.choice(KINDS) | r.choice([m.FIXED, m.FIXED, 0, m.NOREPLACE])
        return (
            MAP,
            at(),
            r.randint(1, 12) * PAGE,
            r.choice([0, 1, 3, 3, 3, 7]),
            flags,
            r.randrange(2),
            r.randrange(4) * PAGE,
        )

    choices = {
        MAP: (6, lambda: [mapping()]),
        UNMAP: (1, lambda: [(UNMAP, at(), length())]),
        PROTECT: (4, lambda: [(PROTECT, at(), length(), r.choice([0, 1, 1, 3, 3, 5, 7]))]),
        REMAP: (
            2,
            lambda: [(REMAP, at(), r.choice([0, length(), length()]), length(), r.choice([0, 1, 1, 3, 5, 7]), at(64))],
        ),
        ADVISE: (2, lambda: [(ADVISE, at(), length(), r.choice(ADVICE))]),
        READ: (3, lambda: sweep(READ, at(), r.randint(1, 16), 0)),
        WRITE: (5, lambda: sweep(WRITE, at(), r.randint(1, 16), r.randint(1, 900))),
        FORK: (1, lambda: [(FORK, r.randrange(3))]),
        SWITCH: (1, lambda: [(SWITCH, r.randrange(3))]),
        BRK: (1, lambda: [(BRK, m.BRK + r.randint(-PAGE, 20 * PAGE))]),
        CUT: (1, lambda: [(CUT, r.randint(0, 16))]),
    }
    kinds = r.choices(list(choices), [weight for weight, _ in choices.values()], k=n)
    base = (MAP, m.WINDOW, 24 * PAGE, 3, m.PRIVATE | m.ANONYMOUS | m.FIXED, 0, 0)
    return [base, *(command for kind in kinds for command in choices[kind][1]())]


# In the end every page of every space is looked at.
LAST = [c for space in range(3) for c in [(SWITCH, space), *sweep(READ, m.WINDOW, 100, 0)]]


def joinable(a: tuple, b: tuple) -> bool:
    (_, a_end, *a_rest, a_file, a_off, a_name), (b_start, _, *b_rest, b_file, b_off, b_name) = a, b
    follows = a_file < 0 or a_off + (a_end - a[0]) // PAGE == b_off
    return a_end == b_start and (a_rest, a_file, a_name) == (b_rest, b_file, b_name) and follows


def check_areas(model: m.Model, areas: list[tuple], total: int) -> None:
    """The areas are sorted, disjoint, and say of each page what the model does."""
    space, seen = model.space, {}
    assert areas == sorted(areas)
    for start, end, prot, flags, file, offset, name in areas:
        for i in range((end - start) // PAGE):
            attributes = m.Attributes(prot, flags, None if file < 0 else file, bool(name))
            assert start // PAGE + i not in seen
            seen[start // PAGE + i] = (attributes, offset + i if file >= 0 else None)
    assert seen == {p: (page.a, page.index if page.a.file is not None else None) for p, page in space.pages.items()}
    assert total == len(seen) * PAGE
    space.areas = [(a[0] // PAGE, a[1] // PAGE) for a in areas]


def run(host_program, commands: list[tuple]) -> m.Model:
    program = host_program("areas")
    output = program(b"".join(struct.pack("<7Q", *c, *[0] * (7 - len(c))) for c in commands))
    model, at = m.Model(), 0
    for kind, *args in commands:
        result, total, n = struct.unpack_from("<qQQ", output, at)
        at += 24
        areas = [struct.unpack_from("<QQIxxxxIxxxxqqQ", output, at + 56 * i) for i in range(n)]
        at += 56 * n
        assert result == getattr(model, METHODS[kind])(*args), (METHODS[kind], args)
        check_areas(model, areas, total)
        if result >= 0 and kind in (MAP, PROTECT):
            start = result if kind == MAP else args[0]
            end = start + args[1]
            for a, b in pairwise(areas):
                assert not (start <= a[1] <= end and joinable(a, b)), "areas that fit together are one"
    assert at == len(output)
    return model


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 60))
def test_areas(host_program, seed, n):
    run(host_program, random_commands(seed, n) + LAST)


def test_second_mapping_is_like_the_first(host_program):
    """A shared mapping that mremap doubles stays out of children, too, when the first was to."""
    first = (MAP, m.WINDOW, PAGE, 3, m.SHARED | m.ANONYMOUS | m.FIXED, 0, 0)
    run(host_program, [first, (ADVISE, m.WINDOW, PAGE, m.DONTFORK), (REMAP, m.WINDOW, 0, PAGE, 1, 0), (FORK, 1), *LAST])
