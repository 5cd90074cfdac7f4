"""Every byte of the store is covered: damage of each class is found under its own name, by readers and by fsck, and is never read as data.

Each case flips a bit or cuts bytes off. What reads then may fail, with the error of its class, or give what was written; nothing else.
The catalogue and the export stream have files of their own.
"""

import itertools
import random
import struct

import pytest
from damaged import assert_found, cut, domain, flip, kinds, largest, read_all
from faults import in_child

from snapshotd.store import Store
from snapshotd.store.errors import (
    CorruptChunkError,
    CorruptMapError,
    CorruptPackError,
    CorruptStoreError,
    KeyWrongError,
    StoreBusyError,
    StoreVersionError,
)
from snapshotd.store.pack import CHUNK_OVERHEAD
from snapshotd.store.pack import HEADER as PACK_HEADER
from snapshotd.store.pagemap import HEADER as MAP_HEADER

SECTIONS = ("layers", "packs", "chunks", "segments", "by chunk", "extents")


@pytest.mark.parametrize("at", [*range(0, PACK_HEADER.size, 5), PACK_HEADER.size - 1])
def test_pack_header_flipped(root, key, expected, at):
    path = largest(root, "packs")
    flip(path, at, at % 8)
    assert_found(root, key, expected, CorruptPackError, "pack", path)


@pytest.mark.parametrize("size", [0, 1, 8, PACK_HEADER.size - 1])
def test_pack_cut_in_its_header(root, key, expected, size):
    path = largest(root, "packs")
    cut(path, size)
    assert_found(root, key, expected, CorruptPackError, "pack", path)


def test_pack_missing(root, key, expected):
    path = largest(root, "packs")
    path.unlink()
    assert_found(root, key, expected, CorruptPackError, "pack", path)


def test_pack_that_cannot_be_opened(root, key, expected):
    path = largest(root, "packs")
    path.unlink()
    path.mkdir()
    assert read_all(root, key, expected)
    assert kinds(root, key)


def test_packs_swapped(root, key, expected):
    one, other = (domain(root) / "packs").iterdir()
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert_found(root, key, expected, CorruptPackError, "pack")


def chunk_places(path):
    """(offset, bytes) of the chunks, from their headers."""
    data, at = path.read_bytes(), PACK_HEADER.size
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at + 8)
        yield at, CHUNK_OVERHEAD + size
        at += CHUNK_OVERHEAD + size


@pytest.mark.parametrize("chunk", [0, 3, -1])
@pytest.mark.parametrize("at", range(CHUNK_OVERHEAD))
def test_chunk_header_flipped(root, key, expected, at, chunk):
    path = largest(root, "packs")
    offset, _ = list(chunk_places(path))[chunk]
    flip(path, offset + at, at % 8)
    assert_found(root, key, expected, CorruptChunkError, "chunk", path)


@pytest.mark.parametrize("chunk", [0, 3, -1])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_chunk_payload_flipped(root, key, expected, part, chunk):
    path = largest(root, "packs")
    offset, size = list(chunk_places(path))[chunk]
    flip(path, offset + CHUNK_OVERHEAD + int(part * (size - CHUNK_OVERHEAD - 1)), 5)
    assert_found(root, key, expected, CorruptChunkError, "chunk", path)


@pytest.mark.parametrize("keep", [-1, -100, CHUNK_OVERHEAD, CHUNK_OVERHEAD - 1, 0])
def test_pack_cut_in_a_chunk(root, key, expected, keep):
    path = largest(root, "packs")
    offset, size = list(chunk_places(path))[-1]
    cut(path, offset + (size + keep if keep < 0 else keep))
    assert_found(root, key, expected, CorruptChunkError, "chunk", path)
    assert "pack" in kinds(root, key), "its size is not what the catalogue says"


def test_chunks_swapped(root, key, expected):
    """A chunk that is sound, in the place of another of the same size."""
    path = largest(root, "packs")
    data = bytearray(path.read_bytes())
    places = list(chunk_places(path))
    for (one, size), (other, other_size) in itertools.combinations(places, 2):
        if size == other_size:
            data[one : one + size], data[other : other + size] = data[other : other + size], data[one : one + size]
            path.write_bytes(data)
            assert_found(root, key, expected, CorruptChunkError, "chunk", path)
            return
    pytest.fail("no two chunks have one size; the pages of the fixture have changed")


def test_hole_where_a_chunk_is(root, key, expected):
    path = largest(root, "packs")
    offset, size = list(chunk_places(path))[1]
    data = path.read_bytes()
    path.write_bytes(data[:offset] + bytes(size) + data[offset + size :])
    assert_found(root, key, expected, CorruptChunkError, "chunk", path)


@pytest.mark.parametrize("at", range(0, MAP_HEADER.size, 3))
def test_map_header_flipped(root, key, expected, at):
    path = largest(root, "maps")
    flip(path, at, at % 8)
    assert_found(root, key, expected, CorruptMapError, "map", path)


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("section", range(6), ids=SECTIONS)
def test_map_section_flipped(root, key, expected, section, part):
    path = largest(root, "maps")
    data = path.read_bytes()
    offsets = [*MAP_HEADER.unpack_from(data)[-6:], len(data)]
    start, end = offsets[section], offsets[section + 1]
    assert end > start
    flip(path, start + int(part * (end - start - 1)), 3)
    assert_found(root, key, expected, CorruptMapError, "map", path)


@pytest.mark.parametrize("section", range(6), ids=SECTIONS)
def test_map_cut_in_a_section(root, key, expected, section):
    path = largest(root, "maps")
    cut(path, MAP_HEADER.unpack_from(path.read_bytes())[-6:][section] + 1)
    assert_found(root, key, expected, CorruptMapError, "map", path)


@pytest.mark.parametrize("size", [0, 1, MAP_HEADER.size - 1, MAP_HEADER.size, -1])
def test_map_cut(root, key, expected, size):
    path = largest(root, "maps")
    cut(path, size if size >= 0 else path.stat().st_size + size)
    assert_found(root, key, expected, CorruptMapError, "map", path)


def test_map_with_more_at_its_end(root, key, expected):
    path = largest(root, "maps")
    path.write_bytes(path.read_bytes() + b"\0")
    assert_found(root, key, expected, CorruptMapError, "map", path)


def test_map_missing(root, key, expected):
    path = largest(root, "maps")
    path.unlink()
    assert_found(root, key, expected, CorruptMapError, "map", path)


def test_maps_swapped(root, key, expected):
    """Both are sound, but of the other snapshot."""
    one, other = (domain(root) / "maps").iterdir()
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert_found(root, key, expected, CorruptMapError, "map")


@pytest.mark.parametrize("seed", range(40))
def test_random_bytes_of_files(root, key, expected, seed):
    generator = random.Random(seed)
    path = generator.choice(sorted((domain(root) / generator.choice(("packs", "maps"))).iterdir()))
    data = bytearray(path.read_bytes())
    for _ in range(generator.choice((1, 1, 1, 20))):
        at = generator.randrange(len(data))
        data[at] = (data[at] + generator.randrange(1, 256)) % 256
    path.write_bytes(data)
    errors = read_all(root, key, expected)
    assert errors
    assert all(isinstance(error, CorruptStoreError) for error in errors)
    with Store.open(root, key=key) as store:
        assert any(path.name in problem.where for problem in store.fsck())


@pytest.mark.parametrize(
    "text", ["quark-store 0\n", "quark-store 2\n", "quark-store 10\n", "", "quark-store 1", "quark-store \n", "quark-stor", "something else\n", "quark-store ¹\n"]
)  # fmt: skip
def test_another_version_of_the_store(root, key, text):
    (root / "VERSION").write_text(text)
    for create in (True, False):
        with pytest.raises(StoreVersionError, match="VERSION"):
            Store.open(root, key=key, create=create)


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("at", range(len("quark-store 1\n")))
def test_version_file_flipped(root, key, at, bit):
    flip(root / "VERSION", at, bit)
    with pytest.raises(StoreVersionError):
        Store.open(root, key=key)


def test_version_file_missing(root, key):
    (root / "VERSION").unlink()
    with pytest.raises(StoreVersionError):
        Store.open(root, key=key)


def own(root):
    Store.own(root).close()


def test_two_daemons(root):
    with Store.own(root):
        with pytest.raises(StoreBusyError, match="PID"):
            own(root)

        def second():
            with pytest.raises(StoreBusyError, match="PID"):
                own(root)

        assert in_child(second) == 0
    assert in_child(lambda: own(root)) == 0
    own(root)


def test_the_wrong_key(root):
    with pytest.raises(KeyWrongError):
        Store.open(root, key=bytes(32))
