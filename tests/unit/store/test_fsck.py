"""What fsck tells while it works, and that it can be given up."""

import pytest

from snapshotd.store import Store


class EnoughError(Exception):
    pass


def test_progress(root, key):
    steps = []
    with Store.open(root, key=key) as store:
        assert store.fsck(lambda done, total: steps.append((done, total))) == []
    done, (total, *others) = [d for d, _ in steps], {t for _, t in steps}
    assert not others
    assert done == sorted(set(done))
    assert 0 < done[0] < done[-1] == total


def test_given_up(root, key):
    """Nobody is kept waiting by what it held."""
    steps = []

    def enough(done, total):
        steps.append((done, total))
        if len(steps) == 2:
            raise EnoughError

    with Store.open(root, key=key) as store:
        with pytest.raises(EnoughError):
            store.fsck(enough)
        assert len(steps) == 2
        store.gc(wait=0)
        assert store.fsck() == []
