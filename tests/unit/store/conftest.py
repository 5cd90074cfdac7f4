"""The modules beside the tests can be imported by them: test folders are not packages. And a small store to damage."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("backend_suite", "contents", "damaged", "faults")

KEY = bytes(range(32))


@pytest.fixture(scope="module", params=[None, KEY], ids=["plain", "sealed"])
def key(request):
    return request.param


@pytest.fixture(scope="module")
def template(tmp_path_factory, key):
    root = tmp_path_factory.mktemp("damage") / "store"
    from contents import FRAMES, pages

    from snapshotd.store import Store

    with Store.open(root, key=key) as store:
        store.create_snapshot("base", b"meta", pages({gfn: gfn + 1 for gfn in range(0, 200, 2)}), frames=FRAMES)
        store.create_snapshot("layer", b"meta", pages({7: 1000, 9: 0, 11: 5}), frames=FRAMES, parent="base")
        store.set_working_set("base", b"the working set")
        assert store.fsck() == []
    return root


@pytest.fixture
def place():
    """A directory for a store whose fsyncs take no time."""
    from contents import MEMORY

    with tempfile.TemporaryDirectory(prefix="quark-store-", dir=MEMORY) as directory:
        yield Path(directory)


@pytest.fixture
def root(template, place):
    return shutil.copytree(template, place / "s")


@pytest.fixture(scope="module")
def expected(template, key):
    from contents import seen

    from snapshotd.store import Store

    with Store.open(template, key=key) as store:
        return seen(store)
