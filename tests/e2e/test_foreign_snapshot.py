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
READY = b'#include <fcntl.h>\n#include <unistd.h>\nint main(void) { return write(open("/dev/quark", O_RDWR), "ready\\n", 6) != 6; }'


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
}


def test_malformed_documents(good):
    document = document_of(good)
    cases = {f"{k}-{i}": {**document, k: v} for i, (k, v) in enumerate(CHANGES.items())}
    cases |= {f"spec-{k}": {**document, "spec": {**document["spec"], k: v}} for k, v in SPEC_CHANGES.items()}
    cases["missing"] = {k: v for k, v in document.items() if k != "stats"}
    encoded = {name: json.dumps(case).encode() for name, case in cases.items()} | {"list": b"[]", "no-json": b"\xff"}
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
    assert "could not take over the open files" in done.err, done
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("option", ["--rootfs", "-v"])
def test_what_an_import_may_have_is_decided_here(quark, tmp_path, option):
    folder = tmp_path / "folder"
    folder.mkdir()
    if option == "--rootfs":
        program = ("/true",)
        subprocess.run(["gcc", "-static", "-xc", "-", "-o", folder / "true"], input=READY, check=True)
        options = (option, folder)
    else:
        program = (PYTHON, "-c", CODE)
        options = (option, f"{folder}:/x")
    done = quark("snapshot", "create", "mine", "--ready-file", *options, "--", *program)
    assert done.status == 0, done
    file = tmp_path / "file"
    assert quark("snapshot", "export", "mine", file).status == 0
    done = quark("snapshot", "import", file, "--name", "other")
    assert (done.status, done.err.count("\n")) == (75, 1), done
    assert str(folder) in done.err
    assert "--host-paths" in done.err
    assert "other" not in quark("snapshot", "list").out
    assert quark("snapshot", "import", file, "--name", "other", "--host-paths").status == 0
    assert quark("run", "--from-snapshot", "other").status == 0
