"""Process life as a user sees it: the end of a sandbox."""

import pytest

BOTH_WAYS = True


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("sleep 100 & sleep 100 & exit 3", 3),
        ("for i in 1 2 3 4 5 6; do sleep 100 & done; exec true", 0),
        ("(exit 1) & (exit 2) & sleep 0.2; exec sh -c 'exit 4'", 4),
        ("sleep 100 & sleep 100 & kill -9 $$", 137),
    ],
)
def test_the_sandbox_ends_with_its_first_program(quark, script, status):
    done = quark("run", "--", "/bin/sh", "-c", script, timeout=30)
    assert (done.status, done.out) == (status, "")
