"""Snapshots whose documents somebody else wrote: nothing in them is believed, and one of them is nobody else's trouble."""

import json
import struct
import subprocess

import pytest

from snapshotd.metadata import Metadata
from snapshotd.store import Store

PYTHON = "/usr/bin/python3.11"
CODE = "import os; f = os.open('/dev/quark', os.O_RDWR); g = open('/etc/hostname'); os.write(f, b'ready\\n'); print('on', len(g.read()) > 0)"
RECIPE = struct.Struct("<IIiIII")  # recipes.c, struct recipe, up to the identity
IDENTITY_BYTES = 80
PROGRAM = rb"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void)
{
	FILE *f = fopen("/x/file", "r");
	char line[80];
	if (write(open("/dev/quark", O_RDWR), "ready\n", 6) != 6 || open("/x/written", O_CREAT | O_WRONLY, 0644) < 0)
		return 1;
	puts(fgets(line, sizeof(line), f) ? (line[11] = 0, line) : "nothing");
	return 0;
}
"""


@pytest.fixture
def good(quark):
    done = quark("snapshot", "create", "good", "--ready-file", "--", PYTHON, "-c", CODE)
    assert done.status == 0, done
    return quark


def store_as(quark, name, document):
    """A snapshot with pages of no meaning."""
    with Store.open(quark.root) as store:
        frames = store.open_reader("good").frames
        store.create_snapshot(name, document, [(1, memoryview(b"x" * 4096))], frames=frames)


def document_of(quark):
    with Store.open(quark.root) as store:
        return json.loads(store.get("good").meta)


CHANGES = {
    "surprise": 1,
    "ram_bytes": 1 << 60,
    "cpu_state": "no base64",
    "ring": 7,
    "cpu_flags": None,
    "spec": {},
    "stats": {},
    "trigger": 5,
    "kernel": None,
}
SPEC_CHANGES = {
    "argv": ["a\0b"],
    "volumes": [["/", "/x"]],
    "env": {"K": 1},
    "memory": 4096,
    "uid": -1,
    "rootfs": 3,
    "ring": "ring9",
    "more": 1,
    "disk": -1,
    "ignored_signals": "x",
    "cwd": "\ud800",
}


def test_malformed_documents(good):
    document = document_of(good)
    cases = {f"{k}-{i}": {**document, k: v} for i, (k, v) in enumerate(CHANGES.items())}
    cases |= {f"spec-{k}": {**document, "spec": {**document["spec"], k: v}} for k, v in SPEC_CHANGES.items()}
    cases["missing"] = {k: v for k, v in document.items() if k != "stats"}
    encoded = {name: json.dumps(case).encode() for name, case in cases.items()}
    encoded |= {"list": b"[]", "no-json": b"\xff", "deep": b"[" * 200_000}
    assert good("run", "--from-snapshot", "good").out == "on True\n"
    pagers = good.pagers()
    for name, document in encoded.items():
        store_as(good, name, document)
        done = good("run", "--from-snapshot", name)
        assert (done.status // 10, done.err.count("\n")) == (4, 1), (name, done)
        assert "document is malformed" in done.err, (name, done)
    assert good.pagers() == pagers, "the domain's pager went on"
    assert good("run", "--from-snapshot", "good").out == "on True\n"


def altered(recipes, **changes):
    """All recipes with other flags, `writable` or root."""
    out, at = bytearray(recipes), 0
    while at < len(out):
        index, root, flags, writable, name_len, reserved = RECIPE.unpack_from(out, at)
        root, flags = changes.get("root", root), changes.get("flags", flags)
        RECIPE.pack_into(out, at, index, root, flags, changes.get("writable", writable), name_len, reserved)
        at += RECIPE.size + IDENTITY_BYTES + name_len
    assert at == len(out)
    assert at
    return bytes(out)


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": 2, "writable": 1},  # O_RDWR, of the rootfs
        {"flags": 0, "writable": 1},
        {"flags": 0o1000},  # O_TRUNC
        {"flags": 0o100},  # O_CREAT
        {"flags": 3},
        {"root": 1},
    ],
)
def test_recipes_that_no_guest_could_have(good, changes):
    meta = Metadata.load(json.dumps(document_of(good)).encode())
    recipes = altered(meta.recipes, **changes)
    document = Metadata(**{**meta.__dict__, "recipes": recipes}).dump()
    store_as(good, "bad", document)
    done = good("run", "--from-snapshot", "bad")
    assert "document is malformed: recipes" in done.err, done
    assert (done.status, done.err.count("\n")) == (42, 1)


@pytest.fixture
def image(tmp_path):
    """A root file system of one program, which has `file` open, and a volume with it."""
    rootfs, volume = tmp_path / "rootfs", tmp_path / "volume"
    for folder in (rootfs, volume):
        folder.mkdir()
        (folder / "file").write_text("its content\n")
    subprocess.run(["gcc", "-static", "-xc", "-", "-o", rootfs / "program"], input=PROGRAM, check=True)
    return rootfs, volume


@pytest.fixture
def imported(quark, image, tmp_path):
    """`other`, imported from a snapshot of the program with a root and a volume of its own; how to import it again."""
    rootfs, volume = image
    options = ("--rootfs", rootfs, "-v", f"{volume}:/x")
    done = quark("snapshot", "create", "mine", "--ready-file", *options, "--", "/program")
    assert done.status == 0, done
    assert quark("run", "--from-snapshot", "mine").out == "its content\n"
    file = tmp_path / "export"
    assert quark("snapshot", "export", "mine", file).status == 0
    assert quark("snapshot", "import", file, "--name", "other").status == 0
    return file


@pytest.mark.parametrize("with_daemon", [False, True], ids=["alone", "daemon"])
def test_what_an_import_may_have_whoever_runs_it_says(quark, image, imported, tmp_path, make_daemon, with_daemon):
    """Nothing of this host that it names is opened unless it is given or allowed."""
    if with_daemon:
        make_daemon()
    rootfs, volume = image
    before = (volume / "written").exists()
    run = ("run", "--from-snapshot", "other")
    for options, named, advice in (
        ((), rootfs, "--rootfs DIR"),
        (("-v", f"{volume}:/x"), rootfs, "--rootfs DIR"),
        (("--rootfs", rootfs), volume, "-v HOSTDIR:/x"),
    ):
        done = quark(*run, *options)
        assert (done.status, done.out, done.err.count("\n")) == (75, "", 1), done
        assert str(named) in done.err
        assert advice in done.err
        assert "--host-paths" in done.err
    assert (volume / "written").exists() == before
    assert quark(*run, "--rootfs", rootfs, "-v", f"{volume}:/x").out == "its content\n"
    assert quark(*run, "--host-paths").out == "its content\n"
    # Somebody else's of the same content serves as well, and the one that it names stays as it is.
    other = tmp_path / "elsewhere"
    subprocess.run(["cp", "-a", volume, other], check=True)
    (volume / "written").unlink()
    assert quark(*run, "--rootfs", rootfs, "-v", f"{other}:/x").out == "its content\n"
    assert (other / "written").exists()
    assert not (volume / "written").exists()
    # Another one allows it once for all.
    assert quark("snapshot", "import", imported, "--name", "third", "--host-paths").status == 0
    assert quark("run", "--from-snapshot", "third").out == "its content\n"


@pytest.mark.usefixtures("imported")
def test_an_import_is_looked_at_without_what_it_names(quark):
    done = quark("snapshot", "check", "other")
    assert "to be given" in done.out, done
    assert done.status == 0
    assert quark("snapshot", "flatten", "other").status == 0
    assert quark("run", "--from-snapshot", "other").status == 75
    assert quark("store", "fsck").status == 0


def test_deleted_and_imported_again_with_more_trust(quark, imported):
    assert quark("run", "--from-snapshot", "other").status == 75
    assert quark("snapshot", "rm", "mine").status == 0
    for options, status in ((("--host-paths",), 0), ((), 75)):
        assert quark("snapshot", "rm", "other").status == 0
        assert quark("snapshot", "import", imported, "--name", "other", *options).status == 0
        assert quark("run", "--from-snapshot", "other").status == status, options


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-v", "/tmp:/y"), "has no volume at /y; its volumes are /x"),
        (("-v", "/tmp:/x", "-v", "/tmp:/x"), "given twice"),
        (("-v", "/tmp"), "is not SLOT=HOSTDIR"),
        (("-v", "/does/not/exist:/x"), "must exist"),
        (("--rootfs", "/does/not/exist"), "existing directory"),
        (("--hostname", "x"), "--hostname"),
    ],
)
def test_what_cannot_be_given_to_a_clone(quark, options, said):
    done = quark("run", "--from-snapshot", "mine", *options)
    assert 0 < done.status < 126
    assert said in done.err, done
    assert done.err.count("\n") == 1


@pytest.mark.usefixtures("imported")
def test_another_root_has_to_have_the_same_content(quark, image, tmp_path):
    rootfs, _ = image
    other = tmp_path / "changed"
    subprocess.run(["cp", "-a", rootfs, other], check=True)
    (other / "program").write_bytes((other / "program").read_bytes() + b"x")
    done = quark("run", "--from-snapshot", "mine", "--rootfs", other)
    assert done.status == 59, done
    assert "/program" in done.err
