"""kill -9 at random times: two processes work on one store until they are killed; every snapshot proves itself by the digest in its document."""

import hashlib
import io
import os
import random
import signal
import time
import traceback
from contextlib import suppress

import pytest
from contents import FRAMES, PAGE, damage, is_there, memory, page, pages, unmatched_files

from snapshotd.store import Store
from snapshotd.store.errors import (
    CorruptStreamError,
    HasChildrenError,
    NameTakenError,
    SnapshotUnknownError,
    StoreBusyError,
)

ROUNDS = 12
WORKERS = 2


def work(root, seed):
    """Change the store in every way there is, for ever."""
    generator = random.Random(seed)
    with Store.open(root) as store:
        while True:
            names = [info.name for info in store.list()]
            some = generator.choice(names) if names else None
            # The other worker may have been faster.
            with suppress(SnapshotUnknownError, HasChildrenError, NameTakenError):
                step(store, generator, some)


def step(store, generator, some):
    what = generator.random()
    if some is None or what < 0.4:
        parent = some if generator.random() < 0.6 else None
        below = memory(store, parent) if parent else bytes(FRAMES * PAGE)
        numbers = {
            gfn: generator.randrange(300) for gfn in generator.sample(range(FRAMES), generator.choice((1, 30, 120)))
        }
        content = bytearray(below)
        for gfn, number in numbers.items():
            content[gfn * PAGE : (gfn + 1) * PAGE] = page(number) if number else bytes(PAGE)
        digest = hashlib.sha256(content).digest()
        store.create_snapshot(f"s{generator.getrandbits(40)}", digest, pages(numbers), frames=FRAMES, parent=parent)
    elif what < 0.55:
        store.delete(some, cascade=generator.random() < 0.3)
    elif what < 0.65:
        store.flatten(some)
    elif what < 0.75:
        store.set_working_set(some, b"w" * generator.randrange(1000))
    elif what < 0.85:
        stream = io.BytesIO()
        store.export(some, stream)
        stream.seek(0)
        with suppress(CorruptStreamError):  # the other worker flattened an ancestor in between
            store.import_(stream, f"i{generator.getrandbits(40)}")
    else:
        with suppress(StoreBusyError):
            store.gc(wait=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_times(tmp_path, seed):
    generator = random.Random(seed)
    for number in range(ROUNDS):
        workers = []
        for worker in range(WORKERS):
            pid = os.fork()
            if pid == 0:
                try:
                    work(tmp_path / "s", f"{seed} {number} {worker}")
                finally:
                    traceback.print_exc()
                    os._exit(1)  # it should never end by itself
            workers.append(pid)
        time.sleep(generator.uniform(0.02, 0.25))
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        assert [os.waitpid(pid, 0)[1] for pid in workers] == [signal.SIGKILL] * WORKERS
        with Store.open(tmp_path / "s") as store:
            found = store.list()
            for info in found:
                assert hashlib.sha256(memory(store, info.name)).digest() == info.meta, info
                assert info.parent is None or is_there(store, info.parent)
            assert damage(store) == []
            store.gc()
            assert store.fsck() == []
            assert unmatched_files(store) == set()
            assert len(store.list()) == len(found)
    assert found, "nothing was ever stored"
