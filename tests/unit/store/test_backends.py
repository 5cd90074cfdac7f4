"""The conformance suite on the local directory, and on the backend in memory that stands for an object store."""

import os
import resource
from contextlib import contextmanager

import pytest
from backend_suite import BLOCK, BackendSuite, load, store
from faults import LOSE_ALL, LOSE_BYTES, Disk, followed
from memory_backend import MemoryBackend

from snapshotd.store.backend import MAP, PACK
from snapshotd.store.layout import new_id
from snapshotd.store.local import LocalBackend

NOBODY = 65534


class TestLocal(BackendSuite):
    @pytest.fixture(params=[LOSE_BYTES, LOSE_ALL])
    def fault(self, request):
        return request.param

    @pytest.fixture
    def disk(self, tmp_path, fault):
        (tmp_path / "domain").mkdir(mode=0o700)
        (tmp_path / "stash").mkdir()
        with followed(Disk(fault=fault, stash=tmp_path / "stash")) as disk:
            yield disk

    @pytest.fixture
    def again(self, tmp_path):
        return lambda: LocalBackend(str(tmp_path / "domain"))

    @pytest.fixture
    def backend(self, disk, again):  # noqa: ARG002 - the disk follows from the start
        backend = again()
        backend.make()
        backend.make()
        return backend

    @pytest.fixture
    def power_cut(self, disk, again):
        def cut():
            disk.power_cut()
            return again()

        return cut

    @pytest.fixture
    def no_room(self):
        @contextmanager
        def limited():
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        return limited

    @pytest.fixture
    def no_access(self, tmp_path):
        @contextmanager
        def refused():
            domain = tmp_path / "domain"
            domain.chmod(0)
            user = os.geteuid()
            if user == 0:  # whom no mode stops
                os.seteuid(NOBODY)
            try:
                yield
            finally:
                os.seteuid(user)
                domain.chmod(0o700)

        return refused


class TestMemory(BackendSuite):
    @pytest.fixture
    def backend(self):
        return MemoryBackend()

    @pytest.fixture
    def again(self, backend):
        return lambda: backend

    @pytest.fixture
    def power_cut(self, again):
        return again

    @pytest.fixture
    def no_room(self, backend):
        @contextmanager
        def limited():
            backend.room = 100_000
            yield
            backend.room = None

        return limited

    @pytest.fixture
    def no_access(self, backend):
        @contextmanager
        def refused():
            backend.refused = True
            yield
            backend.refused = False

        return refused


@pytest.fixture
def local(tmp_path):
    backend = LocalBackend(str(tmp_path))
    backend.make()
    return backend


@pytest.mark.parametrize("kind", [PACK, MAP])
def test_order_of_a_publication(local, kind):
    with followed(Disk()) as disk:
        store(local, kind, BLOCK)
    assert disk.log == ["create", "write", "half written", "sync", "rename", "sync_directory"]


def test_holes_are_synced(local):
    object_id = store(local, PACK, os.urandom(1 << 16))
    with followed(Disk()) as disk:
        punched = local.punch(PACK, object_id, [(4096, 4096), (32768, 8192)])
    assert disk.log == (["punch", "punch", "sync"] if punched else ["punch"])


def test_holes_give_space_back(local, tmp_path):
    object_id = store(local, PACK, os.urandom(1 << 20))
    path = tmp_path / "packs" / f"{object_id.hex()}.pack"
    before = path.stat().st_blocks
    if not local.punch(PACK, object_id, [(4096, (1 << 20) - 8192)]):
        pytest.skip("the file system under the temporary directory has no holes")
    assert path.stat().st_blocks < before / 8
    assert path.stat().st_size == 1 << 20


def test_files_are_private(local, tmp_path):
    store(local, MAP, BLOCK)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "maps").iterdir()] == [0o600]
    assert (tmp_path / "maps").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "name",
    [f"tmp-{'0' * 32}", f"{'0' * 32}.map", f"{'0' * 31}.pack", f"{'A' * 32}.pack", f"{'0' * 30}  .pack", "x", f"{'g' * 32}.pack"],
)  # fmt: skip
def test_other_files_are_leftovers(local, tmp_path, name):
    path = tmp_path / "packs" / name
    path.touch()
    assert local.ids(PACK) == []
    assert local.leftovers() == [str(path)]
    local.discard(str(path))
    assert local.leftovers() == []


def test_a_name_that_is_not_durable_is_taken_back(local, monkeypatch):
    def fail(path):
        raise OSError(path)

    upload = local.begin(PACK, object_id := new_id())
    upload.append([BLOCK])
    monkeypatch.setattr("snapshotd.store.durable.sync_directory", fail)
    with pytest.raises(OSError, match="packs"):
        upload.publish()
    upload.abandon()
    assert local.ids(PACK) == []
    assert local.leftovers() == []
    monkeypatch.undo()
    assert load(local, PACK, store(local, PACK, BLOCK, object_id)) == BLOCK
