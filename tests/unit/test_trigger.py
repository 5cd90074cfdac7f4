"""What watches a program's output for the moment of its capture."""

import os
import threading
import tracemalloc

import pytest

from snapshotd import trigger

LONG = 32 << 20  # bytes
PIECE = b"x" * 65536


@pytest.mark.parametrize(
    ("output", "fires"),
    [
        ([b"on\nre", b"ady\n", b"ready\n"], 1),
        ([b"ready"], 0),  # no whole line
        ([PIECE] * (LONG // len(PIECE)) + [b"\nready\n"], 1),
        ([b"ready\n"] + [PIECE] * (LONG // len(PIECE)), 1),
        ([PIECE, b"ready", PIECE], 1),
    ],
    ids=["a line", "a piece", "behind a long line", "before one", "in one"],
)
def test_lines_are_looked_at(output, fires):
    """In memory that does not grow with what a guest writes."""
    source, write = os.pipe()
    target = os.open(os.devnull, os.O_WRONLY)

    def program():
        for data in output:
            left = data
            while left:
                left = left[os.write(write, left) :]
        os.close(write)

    fired = []
    thread = threading.Thread(target=program)
    tracemalloc.start()
    try:
        thread.start()
        trigger.watch_lines(source, target, trigger.compile_pattern("ready").search, lambda: fired.append(1))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        thread.join()
        os.close(source)
        os.close(target)
    assert len(fired) == fires
    assert most < 16 * trigger.LINE_MAX
