"""Damage of an export stream: its header, and records of every type, flipped and cut. Nothing of a damaged stream becomes visible."""

import io
import struct

import pytest
from contents import FRAMES, pages, seen

from snapshotd.store import Store
from snapshotd.store.errors import CorruptStreamError, KeyMissingError, KeyWrongError
from snapshotd.store.exporting import COUNTS, ZERO_RUN
from snapshotd.store.records import END, HEADER, LAYER_END, RECORD, ZEROS, RecordReader, RecordWriter

TYPES = {1: "layer", 2: "meta", 3: "working set", 4: "pages", 5: "zeros", 6: "end of layer", 7: "end"}


@pytest.fixture(scope="module")
def stream(tmp_path_factory, key):
    with Store.open(tmp_path_factory.mktemp("stream"), key=key) as store:
        store.create_snapshot("base", b"meta", pages({gfn: gfn + 1 for gfn in range(40)}), frames=FRAMES)
        store.create_snapshot("top", b"more", pages({3: 0, 4: 0, 50: 51, 60: 61}), frames=FRAMES, parent="base")
        store.set_working_set("top", b"pages of it")
        out = io.BytesIO()
        store.export("top", out)
    return out.getvalue()


@pytest.fixture(scope="module")
def records(stream):
    """(offset, type, bytes of the whole record) of each."""
    found, at = [], HEADER.size
    while at < len(stream):
        kind, size, _ = RECORD.unpack_from(stream, at)
        found.append((at, kind, RECORD.size + size))
        at += RECORD.size + size
    assert {kind for _, kind, _ in found} == set(TYPES)
    return found


@pytest.fixture
def store(place, key):
    with Store.open(place / "s", key=key) as store:
        yield store


def refused(store, data, error_class=CorruptStreamError):
    with pytest.raises(error_class):
        store.import_(io.BytesIO(data))
    assert store.list() == []
    store.gc()
    assert store.fsck() == []
    assert store.usage() == (0, None)


def flipped(data, at, bit):
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@pytest.mark.parametrize("at", range(HEADER.size))
def test_header_flipped(store, stream, at):
    refused(store, flipped(stream, at, at % 8))


@pytest.mark.parametrize("size", [0, 1, 8, HEADER.size - 1, HEADER.size])
def test_header_cut(store, stream, size):
    refused(store, stream[:size])


@pytest.mark.parametrize("kind", TYPES, ids=TYPES.values())
def test_record_flipped(store, stream, records, kind):
    for offset, found, size in records:
        if found != kind:
            continue
        places = {*range(RECORD.size), RECORD.size, RECORD.size + (size - RECORD.size) // 2, size - 1}
        for at in sorted(place for place in places if place < size):
            refused(store, flipped(stream, offset + at, at % 8))


@pytest.mark.parametrize("kind", TYPES, ids=TYPES.values())
def test_record_cut(store, stream, records, kind):
    for offset, found, size in records:
        if found == kind:
            for keep in sorted({0, 1, RECORD.size - 1, min(RECORD.size, size - 1), size - 1}):
                refused(store, stream[: offset + keep])


@pytest.mark.parametrize("kind", TYPES, ids=TYPES.values())
def test_record_left_out_or_twice(store, stream, records, kind):
    """The number of a record is part of its checksum: none can go, come twice or change places."""
    for offset, found, size in records:
        if found == kind:
            end = offset + size
            refused(store, stream[:offset] + stream[end:])
            refused(store, stream[:end] + stream[offset:])


ZERO_FRAMES = {
    "of another's frames": lambda zeros: [*zeros, (45, 10)],  # frame 50 has a page
    "before a page": lambda zeros: [(3, 48), *zeros[2:]],  # a run that ends behind it
    "that descend": lambda zeros: zeros[::-1],
    "that overlap": lambda zeros: [zeros[0], *zeros],
    "beyond the end": lambda zeros: [*zeros, (FRAMES - 1, 2)],
    "without a frame": lambda zeros: [*zeros, (FRAMES, 0)],
}


@pytest.mark.parametrize("change", ZERO_FRAMES.values(), ids=ZERO_FRAMES)
def test_zero_frames_out_of_place(store, stream, key, change):
    """What no damage makes, with right checksums."""
    reader, out = RecordReader(io.BytesIO(stream), key), io.BytesIO()
    writer, changed, kind = RecordWriter(out, key), [], 0
    while kind != END:
        kind, payload = reader.read()
        if kind == LAYER_END and changed:
            pages, _ = COUNTS.unpack(payload)
            payload = COUNTS.pack(pages, sum(count for _, count in changed))
        if kind == ZEROS and (3, 1) in (zeros := single(payload)):
            changed = change(zeros)
            payload = b"".join(ZERO_RUN.pack(*run) for run in changed)
        writer.write(kind, payload)
    assert changed
    refused(store, out.getvalue())


def single(payload):
    """Runs of zero frames as (frame, 1)."""
    return [(gfn + i, 1) for gfn, count in ZERO_RUN.iter_unpack(payload) for i in range(count)]


def test_something_follows(store, stream):
    refused(store, stream + b"\0")
    refused(store, stream + stream)


def test_another_version(store, stream):
    import xxhash

    head = bytearray(stream[: HEADER.size])
    struct.pack_into("<I", head, 8, 2)
    struct.pack_into("<Q", head, HEADER.size - 8, xxhash.xxh3_64_intdigest(bytes(head[:-8])))
    with pytest.raises(CorruptStreamError, match="version 2"):
        store.import_(io.BytesIO(bytes(head) + stream[HEADER.size :]))


def test_other_keys(tmp_path, stream, key):
    if key is None:
        with Store.open(tmp_path / "sealed", key=bytes(32)) as store:
            assert store.import_(io.BytesIO(stream)).name == "top"  # what is not sealed anybody may import
        return
    with Store.open(tmp_path / "plain") as store:
        refused(store, stream, KeyMissingError)
    with Store.open(tmp_path / "other", key=bytes(32)) as store:
        refused(store, stream, KeyWrongError)


def test_undamaged(store, stream):
    store.import_(io.BytesIO(stream))
    assert {name: found.parent for name, found in seen(store).items()} == {"base": None, "top": "base"}
    assert store.fsck() == []
