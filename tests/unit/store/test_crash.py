"""Crashes: a process that works on a store stops at every step, one run for each; what it leaves is the old state or the new one.

The steps are those of faults.py. After each stop the store opens, every page of every snapshot reads back right, fsck finds leftovers
at most, gc removes them all, and what was cut short can be done again.
"""

import io
import itertools
import shutil

import pytest
from contents import FRAMES, damage, is_there, pages, seen, unmatched_files
from faults import KILL, LOSE_ALL, LOSE_BYTES, Disk, in_child

from snapshotd.store import Store

KEY = bytes(range(32))
DOMAINS = {"default": None, "other": None, "sealed": KEY}


def opened(root, domain="default"):
    return Store.open(root, domain=domain, key=DOMAINS[domain])


def state(store):
    """Everything that can be read."""
    return seen(store), store.usage()[1]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A store with a chain of three, and with deleted snapshots: one that has a pack to itself, one that leaves holes in a pack."""
    root = tmp_path_factory.mktemp("crash") / "store"
    with opened(root) as store:
        shared = {gfn: gfn + 1 for gfn in range(0, 64, 2)}
        store.create_snapshot("mixed", b"", pages({gfn: gfn + 1 for gfn in range(96)}), frames=FRAMES)
        store.create_snapshot("base", b"the base", pages({**shared, 101: 1001, 102: 0}), frames=FRAMES)
        layer = {**{gfn: 2000 + gfn for gfn in range(40, 80)}, 2: 0, 4: 3}
        store.create_snapshot("layer", b"the layer", pages(layer), frames=FRAMES, parent="base")
        store.create_snapshot("leaf", b"the leaf", pages({7: 3000, 40: 5}), frames=FRAMES, parent="layer")
        store.create_snapshot("alone", b"", pages({gfn: 4000 + gfn for gfn in range(20)}), frames=FRAMES)
        store.set_working_set("layer", b"the working set")
        store.set_working_set("alone", b"another")
        store.delete("mixed")
        store.delete("alone")
    with opened(root, "sealed") as store:
        store.create_snapshot("base", b"sealed", pages({1: 1, 2: 2}), frames=FRAMES)
    with opened(root, "other"):
        pass
    return root


@pytest.fixture(scope="module")
def stream(template):
    with opened(template) as store:
        out = io.BytesIO()
        store.export("leaf", out)
    return out.getvalue()


NEW = {gfn: number for number, gfn in enumerate(range(3, 120), 1)} | {200: 9000, 201: 9001, 202: 9000}


def create(root, _):
    with opened(root) as store:
        store.create_snapshot("new", b"the new one", pages(NEW), frames=FRAMES)


def create_sealed(root, _):
    with opened(root, "sealed") as store:
        store.create_snapshot("new", b"the new one", pages(NEW), frames=FRAMES)


def create_layer(root, _):
    with opened(root) as store:
        store.create_snapshot("new", b"the new one", pages({1: 9000, 2: 9001, 7: 0}), frames=FRAMES, parent="layer")


def import_(root, stream):
    with opened(root, "other") as store:
        store.import_(io.BytesIO(stream), "copy")


def flatten(root, _):
    with opened(root) as store:
        store.flatten("layer")  # the middle of the chain


def delete(root, _):
    with opened(root) as store:
        store.delete("layer", cascade=True)


def gc(root, _):
    with opened(root) as store:
        store.gc()


def delete_flattened_and_gc(root, _):
    with opened(root) as store:
        if is_there(store, "base"):
            if store.get("layer").parent is not None:
                store.flatten("layer")
            store.delete("base")
        store.gc()


def set_working_set(root, _):
    with opened(root) as store:
        store.set_working_set("leaf", b"pages")


def set_quota(root, _):
    with opened(root) as store:
        store.set_quota(10_000_000)


# What it does, where, and how many states can be seen on its way.
OPERATIONS = [
    (create, "default", 2),
    (create_sealed, "sealed", 2),
    (create_layer, "default", 2),
    (import_, "other", 2),
    (flatten, "default", 2),
    (delete, "default", 2),
    (gc, "default", 1),
    (delete_flattened_and_gc, "default", 3),
    (set_working_set, "default", 2),
    (set_quota, "default", 2),
]


@pytest.mark.parametrize("fault", [KILL, LOSE_BYTES, LOSE_ALL])
@pytest.mark.parametrize(
    ("operation", "domain", "states"), OPERATIONS, ids=[operation.__name__.strip("_") for operation, _, _ in OPERATIONS]
)
def test_stop_at_every_step(template, stream, place, operation, domain, states, fault):
    with opened(template, domain) as store:
        old = state(store)
    reference = place / "reference"
    shutil.copytree(template, reference)
    operation(reference, stream)
    with opened(reference, domain) as store:
        new = state(store)
    found_states = []
    for k in itertools.count():
        root, stash = place / "store", place / "stash"
        shutil.copytree(template, root)
        stash.mkdir()

        def work(root=root, stash=stash, k=k):
            Disk(k, fault, stash).install()
            operation(root, stream)

        status = in_child(work)
        found = sound(root, domain, k)
        if found not in found_states:
            found_states.append(found)
        if found != new:
            operation(root, stream)
            with opened(root, domain) as store:
                assert state(store) == new, f"done again after step {k}"
        shutil.rmtree(root)
        shutil.rmtree(stash)
        if status == 0:
            break
        assert status == -9
    assert found_states[0] == old
    assert found_states[-1] == new
    assert len(found_states) == states, "something between the old state and the new one can be seen"
    assert k > 2, "nothing was stopped"


def sound(root, domain, k):
    """No damage; after gc, no leftovers either, and nothing that can be seen has changed. Returns what is seen."""
    with opened(root, domain) as store:
        found = state(store)
        assert damage(store) == [], f"step {k}"
        store.gc()
        assert [str(problem) for problem in store.fsck()] == [], f"step {k}"
        assert unmatched_files(store) == set(), f"step {k}"
        assert state(store) == found, f"step {k}"
    return found


@pytest.mark.parametrize("fault", [KILL, LOSE_BYTES, LOSE_ALL])
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
def test_stop_at_every_step_of_making_a_store(place, fault, key):
    for k in itertools.count():
        root, stash = place / f"store{k}", place / f"stash{k}"
        stash.mkdir()

        def work(root=root, stash=stash, k=k):
            Disk(k, fault, stash).install()
            Store.open(root, key=key).close()

        status = in_child(work)
        with Store.open(root, key=key) as store:
            assert store.list() == []
            store.create_snapshot("new", b"", pages({1: 1}), frames=FRAMES)
            store.gc()
            assert store.fsck() == []
        assert not list(root.glob("tmp-*")) or status == -9
        if status == 0:
            break
        assert status == -9
    assert k > 8
