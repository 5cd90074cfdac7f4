"""The store against a model: whatever is created, layered, deleted, collected, flattened or transferred, what is left reads back exactly."""

import io
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from contents import MEMORY
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule
from memory_backend import MemoryBackend

from snapshotd.store import Store
from snapshotd.store.errors import HasChildrenError, NameTakenError, SnapshotUnknownError

FRAMES = 96
PAGE = 4096
# A small alphabet: pages repeat within and between snapshots, and the zero page is among them.
CONTENTS = [bytes(PAGE), *(bytes([n]) * PAGE for n in range(1, 6)), *(bytes(range(n, n + 8)) * 512 for n in range(3))]
PAGES = st.dictionaries(st.integers(0, FRAMES - 1), st.integers(0, len(CONTENTS) - 1), max_size=40)


class Machine(RuleBasedStateMachine):
    """model: name -> (name of the parent or None, content of every frame)."""

    names = Bundle("names")
    key = None

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="quark-store-", dir=MEMORY))
        self.backend = self.make_backend()
        self.store = self.open()
        self.model = {}
        self.working_sets = {}
        self.held = []
        self.count = 0

    def make_backend(self):
        return None

    def open(self):
        return Store.open(self.root, key=self.key, backend=self.backend)

    def teardown(self):
        for reader, _ in self.held:
            reader.close()
        self.store.close()
        shutil.rmtree(self.root)

    def new_name(self):
        self.count += 1
        return f"s{self.count}"

    def children(self, name):
        return [n for n, (parent, _) in self.model.items() if parent == name]

    @rule(target=names, pages=PAGES)
    def create(self, pages):
        name = self.new_name()
        items = [(gfn, memoryview(CONTENTS[n])) for gfn, n in sorted(pages.items())]
        info = self.store.create_snapshot(name, b"meta of " + name.encode(), items, frames=FRAMES)
        assert info.name == name
        self.model[name] = (None, [CONTENTS[pages.get(gfn, 0)] for gfn in range(FRAMES)])
        return name

    @rule(target=names, parent=names, pages=PAGES)
    def layer(self, parent, pages):
        name = self.new_name()
        items = [(gfn, memoryview(CONTENTS[n])) for gfn, n in sorted(pages.items())]
        if parent not in self.model:
            try:
                self.store.create_snapshot(name, b"", items, frames=FRAMES, parent=parent)
            except SnapshotUnknownError:
                return parent
            raise AssertionError("a layer on nothing")
        self.store.create_snapshot(name, b"", items, frames=FRAMES, parent=parent)
        below = self.model[parent][1]
        self.model[name] = (parent, [CONTENTS[pages[gfn]] if gfn in pages else below[gfn] for gfn in range(FRAMES)])
        return name

    @rule(name=names)
    def taken(self, name):
        if name in self.model:
            try:
                self.store.create_snapshot(name, b"", [], frames=FRAMES)
            except NameTakenError:
                return
            raise AssertionError("two of one name")

    @rule(name=consumes(names), cascade=st.booleans())
    def delete(self, name, cascade):
        if name not in self.model:
            return
        if self.children(name) and not cascade:
            try:
                self.store.delete(name)
            except HasChildrenError:
                return
            raise AssertionError("orphans")
        self.store.delete(name, cascade=cascade)
        doomed = [name]
        for d in doomed:
            doomed += self.children(d)
            del self.model[d]
            self.working_sets.pop(d, None)

    @rule()
    def gc(self):
        self.store.gc()

    @rule(name=names)
    def flatten(self, name):
        if name in self.model:
            self.store.flatten(name)
            self.model[name] = (None, self.model[name][1])

    @rule(target=names, name=names)
    def transfer(self, name):
        if name not in self.model:
            return name
        new = self.new_name()
        stream = io.BytesIO()
        self.store.export(name, stream)
        stream.seek(0)
        info = self.store.import_(stream, new)
        self.model[new] = (info.parent, self.model[name][1])
        for known in self.store.list():  # a chain brings its parents, under names that were free
            if known.name not in self.model:
                self.model[known.name] = (known.parent, self.read(known.name))
                self.working_sets[known.name] = self.store.working_set(known.name)
        self.working_sets[new] = self.working_sets.get(name)
        return new

    @rule()
    def reopen(self):
        self.store.close()
        self.store = self.open()

    @rule(name=names, blob=st.binary(max_size=20))
    def set_working_set(self, name, blob):
        if name in self.model:
            self.store.set_working_set(name, blob)
            self.working_sets[name] = blob

    @rule(name=names)
    def hold(self, name):
        if name in self.model and len(self.held) < 5:
            self.held.append((self.store.open_reader(name), self.model[name][1]))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data):
        reader, frames = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        assert self.frames(reader) == frames, "whatever was deleted, flattened and collected meanwhile"
        reader.close()

    def read(self, name):
        with self.store.open_reader(name) as reader:
            return self.frames(reader)

    def frames(self, reader):
        frames = [bytes(PAGE)] * FRAMES
        for chunk in {reader.chunk_of(gfn + i) for gfn, pages in reader.data_runs() for i in range(pages)}:
            for gfn, page in reader.read_chunk(chunk):
                frames[gfn] = bytes(page)
        return frames

    @invariant()
    def everything_is_there(self):
        listed = {i.name: i.parent for i in self.store.list()}
        assert listed == {name: parent for name, (parent, _) in self.model.items()}

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def reads_back(self, data):
        name = data.draw(st.sampled_from(sorted(self.model)))
        assert self.read(name) == self.model[name][1]
        assert self.store.working_set(name) == self.working_sets.get(name)

    @rule()
    def fsck(self):
        assert [p for p in self.store.fsck() if p.kind != "leftover"] == []


class SealedMachine(Machine):
    """An encrypted domain."""

    key = bytes(range(32))


class ElsewhereMachine(Machine):
    """Packs and maps that are no files."""

    def make_backend(self):
        return MemoryBackend()


def case(machine, examples):
    machine.TestCase.settings = settings(
        max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return machine.TestCase


TestStore = case(Machine, 80)
TestSealedStore = case(SealedMachine, 30)
TestStoreElsewhere = case(ElsewhereMachine, 30)
