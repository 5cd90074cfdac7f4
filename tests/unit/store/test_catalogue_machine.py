"""The catalogue against a model: names, parents, deletes, references to chunks, bytes used, quotas and pages of listings."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import pytest
from contents import FRAMES, MEMORY, pages
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from snapshotd.store import Store
from snapshotd.store.errors import (
    BadNameError,
    HasChildrenError,
    NameTakenError,
    QuotaExceededError,
    SnapshotUnknownError,
)

# Few and alike, so that they collide, and are prefixes of one another.
NAMES = st.sampled_from(
    [head + tail for head in ("a", "a.", "ab", "B", "b", "z" * 100) for tail in ("", "-", "0", "1", "_x")]
)
NUMBERS = st.dictionaries(st.integers(0, FRAMES - 1), st.integers(0, 40), max_size=60)
EXTRA = st.sampled_from([-1, 0, 1, 100_000])


class Known:
    """What the model knows of a row: `chunks` and `fixed` bytes (map and documents) do not change while it is there."""

    def __init__(self, parent, chunks, map_bytes, blobs):
        self.parent = parent
        self.chunks = chunks
        self.map_bytes = map_bytes
        self.blobs = blobs

    @property
    def fixed(self):
        return self.map_bytes + sum(self.blobs.values())


class CatalogueMachine(RuleBasedStateMachine):
    """live: name -> Known. waiting: deleted or flattened rows that gc has not removed."""

    key = None

    @initialize()
    def start(self):
        self.root = Path(tempfile.mkdtemp(prefix="quark-catalogue-", dir=MEMORY))
        self.store = Store.open(self.root, key=self.key)
        self.overhead = self.store._domain.cipher.overhead
        self.live = {}
        self.waiting = []
        self.chunk_bytes = {}
        self.quota = None
        # Something to work on: most rules need it, and hypothesis leaves rules out.
        for name, parent in (("a", None), ("a.-", "a"), ("ab", "a.-"), ("b", "a")):
            self.add(name, {gfn: gfn + len(name) for gfn in range(0, 60, len(name))}, b"", parent)

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.root)

    def refs(self):
        """(pack, number) of a chunk -> rows that use it."""
        return Counter(chunk for known in [*self.live.values(), *self.waiting] for chunk in known.chunks)

    def usage(self):
        return sum(self.chunk_bytes.values()) + sum(known.fixed for known in [*self.live.values(), *self.waiting])

    def learn(self, name, parent, blobs):
        """Take the chunks and the size of the map from the snapshot's own files."""
        with self.store.open_reader(name) as reader:
            chunks = {(chunk.pack, chunk.number) for chunk in reader.chunks()}
            self.chunk_bytes |= {(chunk.pack, chunk.number): chunk.bytes for chunk in reader.chunks()}
            self.live[name] = Known(parent, chunks, len(reader.page_map.content), blobs)

    def add(self, name, numbers, meta, parent):
        before = self.usage()
        try:
            info = self.store.create_snapshot(name, meta, pages(numbers), frames=FRAMES, parent=parent)
        except NameTakenError:
            assert name in self.live
            return
        except QuotaExceededError:
            assert self.quota is not None
            return
        assert name not in self.live
        self.learn(name, parent, {"meta": len(meta) + self.overhead})
        assert info.bytes_stored == self.usage() - before
        assert self.quota is None or self.usage() <= self.quota

    @rule(name=NAMES, numbers=NUMBERS, meta=st.binary(max_size=50))
    def create(self, name, numbers, meta):
        self.add(name, numbers, meta, None)

    @precondition(lambda self: self.live)
    @rule(name=NAMES, numbers=NUMBERS, meta=st.binary(max_size=50), data=st.data())
    def layer(self, name, numbers, meta, data):
        self.add(name, numbers, meta, data.draw(st.sampled_from(sorted(self.live))))

    @rule(name=NAMES)
    def layer_on_nothing(self, name):
        if name not in self.live:
            with pytest.raises(SnapshotUnknownError):
                self.store.create_snapshot("new", b"", [], frames=FRAMES, parent=name)

    def children(self, name):
        return {child for child, known in self.live.items() if known.parent == name}

    def some_name(self, data):
        """One that is there, or perhaps is not."""
        return data.draw(st.sampled_from(sorted(self.live)) if self.live and data.draw(st.integers(0, 3)) else NAMES)

    @rule(cascade=st.booleans(), data=st.data())
    def delete(self, cascade, data):
        name = self.some_name(data)
        if name not in self.live:
            with pytest.raises(SnapshotUnknownError):
                self.store.delete(name, cascade=cascade)
            return
        if self.children(name) and not cascade:
            with pytest.raises(HasChildrenError):
                self.store.delete(name)
            return
        self.store.delete(name, cascade=cascade)
        doomed = [name]
        for each in doomed:
            doomed += self.children(each)
            self.waiting.append(self.live.pop(each))

    @rule(data=st.data())
    def flatten(self, data):
        name = self.some_name(data)
        if name not in self.live:
            with pytest.raises(SnapshotUnknownError):
                self.store.flatten(name)
            return
        old = self.live[name]
        identity, children = self.store.get(name).id, self.children(name)
        try:
            assert self.store.flatten(name).parent is None
        except QuotaExceededError:
            assert self.quota is not None
            assert old.parent is not None
            return
        assert self.store.get(name).id == identity
        if old.parent is not None:
            self.waiting.append(old)
            self.learn(name, None, dict(old.blobs))
            assert self.live[name].chunks == old.chunks
        assert {info.name for info in self.store.list(parent=name)} == children

    @rule(blob=st.binary(max_size=50), data=st.data())
    def working_set(self, blob, data):
        name = self.some_name(data)
        if name not in self.live:
            with pytest.raises(SnapshotUnknownError):
                self.store.set_working_set(name, blob)
            return
        try:
            self.store.set_working_set(name, blob)
        except QuotaExceededError:
            assert self.quota is not None
            assert self.usage() + len(blob) + self.overhead - self.live[name].blobs.get("working_set", 0) > self.quota
            return
        before = self.usage()
        self.live[name].blobs["working_set"] = len(blob) + self.overhead
        assert self.quota is None or self.usage() <= max(self.quota, before)

    @rule()
    def gc(self):
        before = self.usage()
        report = self.store.gc()
        assert (report.snapshots, report.busy, report.leftovers) == (len(self.waiting), 0, 0)
        gone = sum(known.fixed for known in self.waiting)
        self.waiting.clear()
        refs = self.refs()
        dead = [chunk for chunk in self.chunk_bytes if not refs[chunk]]
        for chunk in dead:
            del self.chunk_bytes[chunk]
        assert report.chunks == len(dead)
        assert report.bytes_freed == before - self.usage() - gone

    @rule(extra=EXTRA)
    def set_quota(self, extra):
        self.quota = max(self.usage() + extra, 0)
        self.store.set_quota(self.quota)

    @precondition(lambda self: self.quota is not None)
    @rule()
    def lift_quota(self):
        self.quota = None
        self.store.set_quota(None)

    @rule(limit=st.integers(1, 4), prefix=st.sampled_from(["", "a", "a.", "ab", "b", "q", "z" * 100]), data=st.data())
    def pages_of_a_listing(self, limit, prefix, data):
        """All pages one after the other are the whole listing, each name once, in order."""
        parent = data.draw(st.sampled_from([None, *sorted(self.live)]))
        expected = sorted(
            name
            for name, known in self.live.items()
            if name.startswith(prefix) and (parent is None or known.parent == parent)
        )
        found, after = [], None
        while part := self.store.list(prefix, limit, after, parent):
            assert len(part) <= limit
            assert after is None or part[0].name > after
            found += [info.name for info in part]
            after = found[-1]
        assert found == expected

    @rule(after=NAMES)
    def a_listing_after_a_name_that_need_not_be_there(self, after):
        assert [info.name for info in self.store.list(after=after)] == sorted(
            name for name in self.live if name > after
        )

    @precondition(lambda self: self.live)
    @rule()
    def reopen(self):
        self.store.close()
        self.store = Store.open(self.root, key=self.key)

    @invariant()
    def rows_are_those_of_the_model(self):
        if not hasattr(self, "store"):
            return
        rows = self.store._domain.catalogue.rows
        assert {info.name: info.parent for info in self.store.list()} == {
            n: known.parent for n, known in self.live.items()
        }
        assert self.store.usage() == (self.usage(), self.quota)
        packs = dict(rows("SELECT key, id FROM pack"))
        found = {(packs[chunk >> 24], chunk & 0xFFFFFF): refs for chunk, refs in rows("SELECT id, refs FROM chunk")}
        assert found == dict(self.refs())
        assert self.store.totals()[0] == len(self.live)


class SealedCatalogueMachine(CatalogueMachine):
    """Documents are longer here, and digests are masked."""

    key = bytes(range(32))


def case(machine, examples):
    machine.TestCase.settings = settings(
        max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return machine.TestCase


TestCatalogue = case(CatalogueMachine, 60)
TestSealedCatalogue = case(SealedCatalogueMachine, 15)


@pytest.mark.parametrize("name", ["", "-a", "a/b", "a b", "ä", "x" * 129, ".", "..", "a\0", "a\n"])
def test_bad_names(tmp_path, name):
    with Store.open(tmp_path) as store, pytest.raises(BadNameError):
        store.create_snapshot(name, b"", [], frames=1)
    with pytest.raises(BadNameError):
        Store.open(tmp_path, domain=name)


@pytest.mark.parametrize("key", [None, bytes(range(32))], ids=["plain", "sealed"])
def test_domains_share_nothing(tmp_path, key):
    content = pages({gfn: gfn + 1 for gfn in range(100)})
    with (
        Store.open(tmp_path, domain="one", key=key) as one,
        Store.open(tmp_path, domain="two", key=key) as two,
    ):
        first = one.create_snapshot("s", b"", content, frames=FRAMES)
        second = two.create_snapshot("s", b"", content, frames=FRAMES)
        assert first.pages_new == second.pages_new == 100
        again = one.create_snapshot("again", b"", content, frames=FRAMES)
        assert again.pages_new == 0
        digests = [
            {digest for (digest,) in store._domain.catalogue.rows("SELECT digest FROM page")} for store in (one, two)
        ]
        assert len(digests[0]) == len(digests[1]) == 100
        # With a key the domains' salts keep equal pages from having equal digests.
        assert digests[0].isdisjoint(digests[1]) == (key is not None)
        one.delete("s")
        one.delete("again")
        assert one.gc().chunks == 7
        assert one.usage()[0] == 0
        assert two.fsck() == []
        assert Store.domains(tmp_path) == ["one", "two"]


def test_flatten_in_the_middle_of_a_chain(tmp_path):
    with Store.open(tmp_path) as store:
        store.create_snapshot("0", b"", pages({gfn: gfn + 1 for gfn in range(50)}), frames=FRAMES)
        for level in range(1, 6):
            numbers = {level: 1000 + level, 50 + level: 2000 + level, 10 + level: 0}
            store.create_snapshot(str(level), b"", pages(numbers), frames=FRAMES, parent=str(level - 1))
        before = {info.name: store.open_reader(info.name) for info in store.list()}
        frames = {name: [reader.page(gfn) for gfn in range(FRAMES)] for name, reader in before.items()}
        ids = {info.name: info.id for info in store.list()}
        store.flatten("3")
        assert {info.name: info.parent for info in store.list()} == {
            "0": None,
            "1": "0",
            "2": "1",
            "3": None,
            "4": "3",
            "5": "4",
        }
        assert store.gc().busy == 1, "the old row of 3 is being read"
        store.delete("0", cascade=True)
        assert store.gc().busy == 4
        for name, reader in before.items():
            assert [reader.page(gfn) for gfn in range(FRAMES)] == frames[name]
            reader.close()
        assert store.gc().snapshots == 4
        assert store.fsck() == []
        for name in "345":
            with store.open_reader(name) as reader:
                assert [reader.page(gfn) for gfn in range(FRAMES)] == frames[name]
        with store.open_reader("3") as reader:
            assert reader.layers == [ids["3"]]
        # A layer that was there before goes on naming those that its images share memory with.
        with store.open_reader("5") as reader:
            assert reader.layers == [ids[name] for name in "543210"]
        store.create_snapshot("6", b"", pages({9: 9}), frames=FRAMES, parent="3")
        with store.open_reader("6") as reader:
            assert reader.layers == [store.get("6").id, ids["3"]]
