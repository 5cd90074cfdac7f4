"""No room on the file system, for real: a small tmpfs in a mount namespace of the test's own. What does not fit fails alone, and leaves nothing."""

import ctypes
import io
import os
import random

import pytest
from contents import FRAMES, PAGE, damage, pages, seen, unmatched_files
from faults import in_child

from snapshotd.store import Store
from snapshotd.store.errors import DiskFullError

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
SIZE = 12 << 20  # more than the write-ahead log of the catalogue, which is allowed 4 MiB

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system: run as root")


def on_a_small_disk(directory, work):
    """Run `work` in a child process that alone sees a tmpfs of SIZE bytes on `directory`."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mounted():
        for done in (
            libc.unshare(CLONE_NEWNS),
            libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
            libc.mount(b"small", os.fsencode(directory), b"tmpfs", 0, f"size={SIZE}".encode()),
        ):
            assert done == 0, os.strerror(ctypes.get_errno())
        work()

    assert in_child(mounted) == 0


def noise(seed, count):
    """Pages that LZ4 cannot shrink."""
    data = random.Random(seed).randbytes(count * PAGE)
    return [(0, memoryview(data))]


def free(directory):
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def fill(directory, leave):
    """Take all room but `leave` bytes."""
    with open(directory / "ballast", "wb") as file:
        file.write(b"x" * max(free(directory) - leave, 0))


def files(directory):
    return sorted(name for _, _, names in os.walk(directory) for name in names if not name.startswith("catalogue"))


def fails_alone(directory, attempt):
    """`attempt` succeeds with enough room, and with any less raises DiskFullError and leaves everything as it was.

    It is tried with more and more room, so that it fails in the pack, then in the map, then in the catalogue.
    """
    root = directory / "store"
    with Store.open(root) as store:
        store.create_snapshot("before", b"one", pages({gfn: gfn + 1 for gfn in range(40)}), frames=FRAMES)
        store.create_snapshot("layer", b"two", pages({1: 0, 2: 77}), frames=FRAMES, parent="before")
        out = io.BytesIO()
        store.export("layer", out)
        failures = []
        for leave in range(0, SIZE, 3 * PAGE):
            fill(directory, leave)
            old = seen(store), store.usage(), files(root)
            try:
                attempt(store, out.getvalue())
                done = True
            except DiskFullError as error:
                failures.append(str(error))
                done = False
            if not done:
                assert (seen(store), store.usage(), files(root)) == old, f"with {leave} bytes left"
            os.unlink(directory / "ballast")
            assert damage(store) == [], f"with {leave} bytes left"
            if done:
                break
        assert failures
        store.create_snapshot("after", b"", noise(2, 30), frames=FRAMES)
        store.gc()
        assert store.fsck() == []
        assert unmatched_files(store) == set()
    return failures


def create(store, _):
    store.create_snapshot("new", b"", noise(1, FRAMES), frames=FRAMES)


def create_layer(store, _):
    store.create_snapshot("new", b"", noise(1, 60), frames=FRAMES, parent="layer")


def test_create(tmp_path):
    def work():
        failures = fails_alone(tmp_path, create)
        assert any("/packs/" in failure for failure in failures)
        assert any("catalogue" in failure for failure in failures)

    on_a_small_disk(tmp_path, work)


def test_create_layer(tmp_path):
    on_a_small_disk(tmp_path, lambda: fails_alone(tmp_path, create_layer))


def test_flatten(tmp_path):
    on_a_small_disk(tmp_path, lambda: fails_alone(tmp_path, lambda store, _: store.flatten("layer")))


def test_set_working_set(tmp_path):
    on_a_small_disk(
        tmp_path, lambda: fails_alone(tmp_path, lambda store, _: store.set_working_set("layer", b"w" * 100_000))
    )


def test_import(tmp_path):
    """Layers that an import had finished wait for gc: all else is as before."""

    def work():
        root = tmp_path / "store"
        with Store.open(tmp_path / "elsewhere") as other:
            other.create_snapshot("base", b"", noise(1, 100), frames=FRAMES)
            other.create_snapshot("top", b"", noise(2, 100), frames=FRAMES, parent="base")
            out = io.BytesIO()
            other.export("top", out)
        with Store.open(root) as store:
            store.create_snapshot("before", b"", noise(3, 50), frames=FRAMES)
            old = seen(store), store.usage(), files(root)
            failures = 0
            for leave in range(0, SIZE, 8 * PAGE):
                fill(tmp_path, leave)
                out.seek(0)
                try:
                    store.import_(out)
                    break
                except DiskFullError:
                    failures += 1
                finally:
                    os.unlink(tmp_path / "ballast")
                store.gc()
                assert (seen(store), store.usage(), files(root)) == old, f"with {leave} bytes left"
            assert failures > 10
            assert {"base", "before", "top"} == set(seen(store))
            store.gc()
            assert store.fsck() == []

    on_a_small_disk(tmp_path, work)


def test_two_captures_at_once(tmp_path):
    """The one that does not fit does not take the other one with it."""

    def work():
        with Store.open(tmp_path / "store") as store, Store.open(tmp_path / "store") as other:

            def slowly():
                for gfn in range(FRAMES):
                    if gfn == 100:
                        fill(tmp_path, 200 * PAGE)
                        with pytest.raises(DiskFullError):
                            other.create_snapshot("large", b"", noise(1, FRAMES), frames=FRAMES)
                    if gfn < 120:
                        yield gfn, memoryview(random.Random(gfn).randbytes(PAGE))

            store.create_snapshot("small", b"", slowly(), frames=FRAMES)
            assert list(seen(store)) == ["small"]
            os.unlink(tmp_path / "ballast")
            store.gc()
            assert store.fsck() == []
            assert unmatched_files(store) == set()

    on_a_small_disk(tmp_path, work)
