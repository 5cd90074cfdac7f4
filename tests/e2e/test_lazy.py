"""Lazy restores from an image that is not complete: what comes in ahead, and what a damaged snapshot does to the others."""

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from quark.errors import PagerLostError
from snapshotd.image import Image
from snapshotd.store import Store

PYTHON = "/usr/bin/python3.11"
# 40 MB that do not compress; a line of standard input asks for the sum over all of it.
CODE = """
import os, sys
f = os.open('/dev/quark', os.O_RDWR)
table = [os.urandom(1 << 20) for _ in range(40)]
small = sum(map(sum, (t[:4096] for t in table)))
os.write(f, b'ready\\n')
print(small, flush=True)
for line in sys.stdin:
    print(sum(t[i] for t in table for i in range(0, len(t), 4096)), flush=True)
os._exit(0)
"""


@contextmanager
def cold_pager(quark):
    """A pager that brings in nothing that nobody asked for."""
    command = [sys.executable, "-P", "-m", "snapshotd.pager", str(quark.root), "--no-fill"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as p:
        deadline = time.monotonic() + 10
        while not (quark.root / "run" / "default" / "pager.sock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield p
        p.send_signal(signal.SIGTERM)


def create(quark, name):
    done = quark("snapshot", "create", name, "--ready-file", "--", PYTHON, "-c", CODE)
    assert done.status == 0, done.err


def timing(done):
    assert done.status == 0, done.err
    return json.loads(done.err.splitlines()[-1])


def test_the_working_set_comes_in_ahead_of_the_faults(quark):
    create(quark, "s")
    with cold_pager(quark):
        first = quark("run", "--from-snapshot", "s", "--timing", "--json")
        cold = timing(first)
    assert cold["pages_mapped_ahead"] == 0
    assert cold["faults"] > 50
    with cold_pager(quark):
        second = quark("run", "--from-snapshot", "s", "--timing", "--json")
        warm = timing(second)
    assert second.out == first.out
    assert warm["pages_mapped_ahead"] > 500
    assert warm["faults"] < cold["faults"] / 2, warm  # what it does after its first output is not in the set


def test_a_page_in_use_does_not_keep_an_image_from_being_complete(quark):
    """Once a pager ended, and all clones with it, because a page was pinned at the moment when the image was sealed."""
    create(quark, "s")
    with Store.open(quark.root) as store:
        image = Image(store, "s")
        try:
            assert image.fill_some(64)
            reader, writer = os.pipe()
            (first, _), *_ = image._runs
            assert os.splice(image.fd, writer, 4096, offset_src=first * 4096) == 4096  # the pipe holds the page itself
            while image.fill_some(64):
                pass
            assert image.complete
            for attempt in (lambda: os.pwrite(image.fd, b"x", 0), lambda: os.ftruncate(image.fd, 0)):
                with pytest.raises(PermissionError):
                    attempt()
            with pytest.raises(PermissionError):
                mmap.mmap(image.fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        finally:
            image.close()
            os.close(reader)
            os.close(writer)


def test_a_damaged_snapshot_ends_its_own_clones_only(quark):
    create(quark, "good")
    packs = set((quark.root / "domains" / "default" / "packs").iterdir())
    create(quark, "bad")
    with cold_pager(quark):
        good, bad = (quark.start("run", "--from-snapshot", name) for name in ("good", "bad"))
        assert good.stdout.readline().strip().isdigit()
        assert bad.stdout.readline().strip().isdigit()
        (pack,) = set((quark.root / "domains" / "default" / "packs").iterdir()) - packs
        size = pack.stat().st_size
        with pack.open("r+b") as f:
            for at in range(4096, size, 16384):
                f.seek(at)
                f.write(os.urandom(64))
        _, err = bad.communicate(b"sum\n", timeout=30)
        assert bad.returncode == PagerLostError.exit_code, err
        assert b"damaged" in err
        out, err = good.communicate(b"sum\n", timeout=30)
        assert good.returncode == 0, err
        assert out.strip().isdigit()
    assert quark("snapshot", "list").status == 0
