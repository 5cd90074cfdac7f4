"""Small stores for tests: pages to fill them with, and all that can be read from them."""

import hashlib
import os
import random
from functools import lru_cache
from typing import NamedTuple

from snapshotd.store.errors import SnapshotUnknownError

PAGE = 4096
# Where stores of tests are whose fsyncs nobody sees: thousands of a disk's take minutes. None: in the usual temporary directory.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
FRAMES = 256


class Seen(NamedTuple):
    """A snapshot as it reads back."""

    parent: str | None
    meta: bytes
    working_set: bytes | None
    memory: bytes  # SHA-256 of all frames


@lru_cache(4096)
def page(number):
    """One of endless different pages, that compresses by half; the same for the same number."""
    return random.Random(number).randbytes(PAGE // 2) * 2


def pages(numbers):
    """What create_snapshot() takes. numbers: frame to number of its page; 0 is the page of zeros."""
    return [(gfn, memoryview(page(number) if number else bytes(PAGE))) for gfn, number in sorted(numbers.items())]


def memory(store, name):
    """All frames of a snapshot, one after the other."""
    with store.open_reader(name) as reader:
        frames = [bytes(PAGE)] * reader.frames
        for chunk in range(reader.chunk_count):
            for gfn, data in reader.read_chunk(chunk):
                frames[gfn] = bytes(data)
        return b"".join(frames)


def seen(store):
    """Name -> Seen of every snapshot of a domain."""
    return {
        info.name: Seen(
            info.parent,
            info.meta,
            store.working_set(info.name),
            hashlib.sha256(memory(store, info.name)).digest(),
        )
        for info in store.list()
    }


def damage(store):
    """What fsck finds, without leftovers: these are no damage."""
    return [str(problem) for problem in store.fsck() if problem.kind != "leftover"]


OWN = {"reserve", "catalogue.db", "catalogue.db-wal", "catalogue.db-shm", "lock", "readers", "packs", "maps"}


def unmatched_files(store):
    """Names of files of an open domain that no row names, whatever they are called, and of those that rows name and that are not there."""
    rows = store._domain.catalogue.rows
    named = {f"{found.hex()}.pack" for (found,) in rows("SELECT id FROM pack")}
    named |= {f"{found.hex()}.map" for (found,) in rows("SELECT map FROM snapshot")}
    walked = os.walk(store._domain.paths.directory)
    return (named ^ {entry for _, folders, files in walked for entry in [*folders, *files]}) - OWN


def is_there(store, name):
    """Whether a snapshot has that name."""
    try:
        store.get(name)
    except SnapshotUnknownError:
        return False
    return True
