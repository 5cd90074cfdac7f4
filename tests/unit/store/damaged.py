"""Damaging a store, and telling what readers and fsck say of it: what is read is right, or is an error of its class."""

import hashlib

from contents import PAGE

from snapshotd.store import Store
from snapshotd.store.errors import CorruptStoreError, StoreError


def domain(root):
    return root / "domains" / "default"


def largest(root, kind):
    return max((domain(root) / kind).iterdir(), key=lambda path: path.stat().st_size)


def flip(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def cut(path, size):
    with path.open("r+b") as file:
        file.truncate(size)


def read_all(root, key, expected, *, lost=False):
    """Read everything, in every way. What reads is right; the errors of what does not are returned. lost: working sets may be missing."""
    errors = []
    try:
        store = Store.open(root, key=key)
    except StoreError as error:
        return [error]
    with store:
        for name, wanted in expected.items():
            try:
                info = store.get(name)
                assert info.meta == wanted.meta
                assert store.working_set(name) in ((None, wanted.working_set) if lost else (wanted.working_set,))
            except StoreError as error:
                errors.append(error)
            try:
                with store.open_reader(name) as reader:
                    errors += frames_differ(reader, wanted)
            except StoreError as error:
                errors.append(error)
    return errors


def frames_differ(reader, wanted):
    """Errors of single chunks; pages that do read are compared with the others by the digest of all when there is no error."""
    errors, frames = [], [bytes(PAGE)] * reader.frames
    for chunk in range(reader.chunk_count):
        try:
            for gfn, page in reader.read_chunk(chunk):
                frames[gfn] = bytes(page)
                assert reader.page(gfn) == frames[gfn]
        except CorruptStoreError as error:
            errors.append(error)
    if not errors:
        assert hashlib.sha256(b"".join(frames)).digest() == wanted.memory, "wrong bytes were read"
    return errors


def kinds(root, key):
    """What fsck finds: the kinds of problems. An error instead of an answer counts by its class."""
    try:
        with Store.open(root, key=key) as store:
            return {problem.kind for problem in store.fsck()}
    except StoreError as error:
        return {type(error).__name__}


def assert_found(root, key, expected, error_class, kind, path=None):
    errors = read_all(root, key, expected)
    assert errors, "nobody noticed"
    assert {type(error) for error in errors} == {error_class}
    if path is not None:
        assert all(path.name in error.path for error in errors)
    assert kind in kinds(root, key)
