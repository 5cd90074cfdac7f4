"""What every backend must pass (docs/store-format.md, section 10). Derive a test class and provide the fixtures; test_backends.py has examples."""

import os
import threading
from contextlib import suppress

import pytest

from snapshotd.store.backend import MAP, PACK
from snapshotd.store.errors import DiskFullError, ObjectMissingError, StoreAccessError
from snapshotd.store.layout import new_id

BLOCK = bytes(range(256)) * 16


def store(backend, kind, content, object_id=None):
    """Write and publish an object."""
    object_id = object_id or new_id()
    upload = backend.begin(kind, object_id)
    upload.append([content])
    upload.publish()
    return object_id


def load(backend, kind, object_id):
    """All bytes of an object."""
    stored = backend.open(kind, object_id)
    try:
        return stored.read(0, stored.size())
    finally:
        stored.close()


@pytest.mark.parametrize("kind", [PACK, MAP])
class BackendSuite:
    """Fixtures that a derived class provides:

    backend: an empty one.
    again: a function that returns the same place as another process finds it.
    power_cut: a function that cuts the power now, for what `backend` did so far, and returns the place as it is found afterwards.
    no_room: context manager factory: inside, the place has no room for objects of more than a few KiB.
    no_access: context manager factory: inside, the place refuses every access.
    """

    def test_what_was_written_is_read(self, backend, again, kind):
        object_id = store(backend, kind, BLOCK)
        for place in (backend, again()):
            assert load(place, kind, object_id) == BLOCK

    def test_appended_in_pieces(self, backend, kind):
        pieces = [os.urandom(n) for n in (1, 0, 4096, 70_000, 3)] + [bytes([n % 256]) for n in range(3000)]
        object_id = new_id()
        upload = backend.begin(kind, object_id)
        upload.append(pieces[:2])
        upload.append([])
        upload.append(pieces[2:])
        upload.publish()
        assert load(backend, kind, object_id) == b"".join(pieces)

    def test_nothing_appended(self, backend, kind):
        object_id = new_id()
        backend.begin(kind, object_id).publish()
        assert load(backend, kind, object_id) == b""

    @pytest.mark.parametrize(
        ("offset", "size"), [(0, 1), (100, 50), (4000, 1000), (4096, 1), (4095, 1), (0, 1 << 20), (1 << 40, 4), (1 << 70, 4), (7, 0)]
    )  # fmt: skip
    def test_ranges(self, backend, kind, offset, size):
        stored = backend.open(kind, store(backend, kind, BLOCK))
        assert stored.size() == len(BLOCK)
        assert stored.read(offset, size) == BLOCK[offset : offset + size]
        stored.close()
        stored.close()

    def test_not_visible_before_publish(self, backend, again, kind):
        object_id = new_id()
        upload = backend.begin(kind, object_id)
        upload.append([BLOCK])
        for place in (backend, again()):
            assert place.ids(kind) == []
            with pytest.raises(ObjectMissingError):
                place.open(kind, object_id)
        upload.publish()
        for place in (backend, again()):
            assert place.ids(kind) == [object_id]
            assert place.leftovers() == []

    def test_an_upload_can_be_read(self, backend, kind):
        upload = backend.begin(kind, new_id())
        upload.append([BLOCK])
        assert upload.read(10, 20) == BLOCK[10:30]
        upload.append([b"more"])
        assert upload.read(len(BLOCK) - 1, 100) == BLOCK[-1:] + b"more"
        assert upload.read(len(BLOCK) + 4, 1) == b""
        upload.abandon()

    def test_abandon(self, backend, again, kind):
        object_id = new_id()
        upload = backend.begin(kind, object_id)
        upload.append([BLOCK])
        upload.abandon()
        upload.abandon()
        for place in (backend, again()):
            assert place.ids(kind) == []
            assert place.leftovers() == []

    def test_abandon_after_publish_changes_nothing(self, backend, kind):
        object_id = new_id()
        upload = backend.begin(kind, object_id)
        upload.append([BLOCK])
        upload.publish()
        upload.abandon()
        assert load(backend, kind, object_id) == BLOCK

    def test_two_writers_at_once(self, backend, kind):
        contents = {new_id(): os.urandom(30_000) for _ in range(4)}
        failures = []

        def write(object_id, content):
            try:
                upload = backend.begin(kind, object_id)
                for at in range(0, len(content), 1000):
                    upload.append([content[at : at + 1000]])
                upload.publish()
            except Exception as error:  # noqa: BLE001 - shown by the test
                failures.append(error)

        threads = [threading.Thread(target=write, args=item) for item in contents.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sorted(backend.ids(kind)) == sorted(contents)
        assert {object_id: load(backend, kind, object_id) for object_id in contents} == contents

    def test_many_readers_at_once(self, backend, kind):
        content = os.urandom(200_000)
        stored = backend.open(kind, store(backend, kind, content))
        wrong = []

        def read(start):
            places = range(start, len(content), 7919)
            wrong.extend(at for at in places if stored.read(at, 100) != content[at : at + 100])

        threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stored.close()
        assert wrong == []

    def test_remove(self, backend, again, kind):
        kept, gone = store(backend, kind, BLOCK), store(backend, kind, BLOCK)
        backend.remove(kind, gone)
        backend.remove(kind, gone)
        for place in (backend, again()):
            assert place.ids(kind) == [kept]
            with pytest.raises(ObjectMissingError):
                place.open(kind, gone)

    def test_remove_while_open(self, backend, kind):
        object_id = store(backend, kind, BLOCK)
        stored = backend.open(kind, object_id)
        backend.remove(kind, object_id)
        assert backend.ids(kind) == []
        with suppress(ObjectMissingError):  # its right; other bytes are not
            assert stored.read(0, 100) == BLOCK[:100]
        stored.close()

    def test_kinds_are_apart(self, backend, kind):
        other = MAP if kind == PACK else PACK
        object_id = store(backend, kind, b"one")
        assert backend.ids(other) == []
        store(backend, other, b"another", object_id)
        backend.remove(kind, object_id)
        assert load(backend, other, object_id) == b"another"

    def test_many_ids(self, backend, kind):
        ids = [store(backend, kind, b"x") for _ in range(50)]
        assert sorted(backend.ids(kind)) == sorted(ids)

    def test_punch_keeps_everything_else(self, backend, kind):
        content = os.urandom(64 * 4096)
        object_id = store(backend, kind, content)
        holes = [(4096, 3 * 4096), (100_000, 5), (200_000, len(content) - 200_000)]
        assert backend.punch(kind, object_id, holes) in (True, False)
        found = load(backend, kind, object_id)
        assert len(found) == len(content)
        at = 0
        for offset, size in [*holes, (len(content), 0)]:
            assert found[at:offset] == content[at:offset]
            at = offset + size

    def test_punch_of_nothing(self, backend, kind):
        assert backend.punch(kind, store(backend, kind, BLOCK), []) in (True, False)
        with pytest.raises(ObjectMissingError):
            backend.punch(kind, new_id(), [(0, 1)])

    def test_names_tell_kind_and_id(self, backend, kind):
        one, other = new_id(), new_id()
        assert one.hex() in backend.name(kind, one)
        assert kind in backend.name(kind, one)
        assert backend.name(kind, one) != backend.name(kind, other)
        stored = backend.open(kind, store(backend, kind, BLOCK, one))
        assert stored.name == backend.name(kind, one)
        stored.close()

    def test_published_survives_a_power_cut(self, backend, power_cut, kind):
        ids = [store(backend, kind, BLOCK) for _ in range(3)]
        place = power_cut()
        assert sorted(place.ids(kind)) == sorted(ids)
        for object_id in ids:
            assert load(place, kind, object_id) == BLOCK

    def test_unpublished_is_at_most_a_leftover_after_a_power_cut(self, backend, power_cut, kind):
        backend.begin(kind, new_id()).append([BLOCK])
        place = power_cut()
        assert place.ids(kind) == []
        for leftover in place.leftovers():
            place.discard(leftover)
            place.discard(leftover)
        assert place.leftovers() == []

    def test_no_room(self, backend, again, no_room, kind):
        with no_room():
            upload = backend.begin(kind, new_id())
            with pytest.raises(DiskFullError):
                upload.append([os.urandom(65536) for _ in range(100)])
            upload.abandon()
        assert again().ids(kind) == []
        assert again().leftovers() == []
        assert load(backend, kind, store(backend, kind, BLOCK)) == BLOCK

    def test_no_access(self, backend, no_access, kind):
        object_id = store(backend, kind, BLOCK)
        with no_access():
            for use in (
                lambda: backend.begin(kind, new_id()),
                lambda: backend.open(kind, object_id),
                lambda: backend.ids(kind),
                lambda: backend.remove(kind, object_id),
                lambda: backend.punch(kind, object_id, [(0, 1)]),
                backend.leftovers,
            ):
                with pytest.raises(StoreAccessError):
                    use()
        assert load(backend, kind, object_id) == BLOCK
