"""Snapshots that do not fit this installation or this host are refused, by name."""

import dataclasses

import pytest

from snapshotd.metadata import Metadata
from snapshotd.store import Store

PYTHON = "/usr/bin/python3.11"
CODE = "import os; f = os.open('/dev/quark', os.O_RDWR); os.write(f, b'ready\\n'); print('on')"


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"kernel": "0" * 40}, 68, "kernel"),
        ({"cpu_flags": ["no_such_feature"]}, 69, "no_such_feature"),
        ({"ring": -1}, 69, "KVM"),
    ],
)
def test_mismatch(quark, change, status, word):
    done = quark("snapshot", "create", "good", "--ready-file", "--", PYTHON, "-c", CODE)
    assert done.status == 0, done.err
    # The same pages with other words about them: what another build, or another host, would have stored.
    with Store.open(quark.root) as store:
        meta = Metadata.load(store.get("good").meta)
        if "ring" in change:
            change = {"ring": 3 - meta.ring}  # the other one of enum qk_ring
        flags = [*meta.cpu_flags, *change.get("cpu_flags", [])]
        other = dataclasses.replace(meta, **{**change, **({"cpu_flags": flags} if "cpu_flags" in change else {})})
        reader = store.open_reader("good")
        pages = [(gfn + i, memoryview(reader.page(gfn + i))) for gfn, n in reader.data_runs() for i in range(min(n, 2))]
        frames = reader.frames
        reader.close()
        store.create_snapshot("other", other.dump(), pages, frames=frames)
    done = quark("run", "--from-snapshot", "other")
    assert done.status == status, done
    assert len(done.err.splitlines()) == 1
    assert word in done.err
    assert quark("run", "--from-snapshot", "good").out == "on\n"
