"""Every byte of the store is covered: a flipped one is never read as data, and fsck names it."""

import random

import pytest

from snapshotd.store import Store
from snapshotd.store.errors import CorruptStoreError, StoreError

PAGE = 4096


@pytest.fixture
def root(tmp_path):
    generator = random.Random(1)
    with Store.open(tmp_path / "s") as store:
        store.create_snapshot(
            "base",
            b"meta",
            [(gfn, memoryview(generator.randbytes(PAGE))) for gfn in range(0, 200, 2)],
            frames=256,
        )
        store.create_snapshot("layer", b"meta", [(7, memoryview(generator.randbytes(PAGE)))], frames=256, parent="base")
        assert store.fsck() == []
    return tmp_path / "s"


def read_all(root):
    with Store.open(root) as store:
        for info in store.list():
            reader = store.open_reader(info.name)
            try:
                for gfn, pages in reader.data_runs():
                    for at in range(gfn, gfn + pages):
                        reader.page(at)
            finally:
                reader.close()


@pytest.mark.parametrize("kind", ["packs", "maps"])
@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit(root, kind, seed):
    generator = random.Random(seed)
    file = generator.choice(sorted((root / "domains" / "default" / kind).iterdir()))
    data = bytearray(file.read_bytes())
    at = generator.randrange(len(data))
    data[at] ^= 1 << generator.randrange(8)
    file.chmod(0o600)
    file.write_bytes(data)
    with Store.open(root) as store:
        problems = store.fsck()
    assert problems, f"byte {at} of {file}"
    assert any(file.name in p.where for p in problems), problems


@pytest.mark.parametrize("kind", ["packs", "maps"])
@pytest.mark.parametrize("keep", [0, 1, 63, 64, 0.5, -1])
def test_a_cut_file(root, kind, keep):
    for file in (root / "domains" / "default" / kind).iterdir():
        size = file.stat().st_size
        file.chmod(0o600)
        with file.open("r+b") as f:
            f.truncate(size + keep if keep < 0 else int(size * keep) if isinstance(keep, float) else keep)
    with Store.open(root) as store:
        assert store.fsck()
    with pytest.raises(CorruptStoreError):
        read_all(root)


def test_a_missing_file(root):
    for file in (root / "domains" / "default" / "packs").iterdir():
        file.unlink()
    with Store.open(root) as store:
        assert {p.kind for p in store.fsck()} & {"pack", "chunk"}
    with pytest.raises(StoreError):
        read_all(root)


def test_a_damaged_catalogue(root):
    file = root / "domains" / "default" / "catalogue.db"
    data = bytearray(file.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    file.write_bytes(data)
    for extra in ("-wal", "-shm"):
        file.with_name(file.name + extra).unlink(missing_ok=True)
    with pytest.raises(StoreError) as error:
        read_all(root)
    assert "catalogue" in str(error.value)


@pytest.mark.parametrize("text", ["quark-store 2\n", "", "something else\n"])
def test_another_version(root, text):
    (root / "VERSION").write_text(text)
    with pytest.raises(StoreError):
        Store.open(root)
