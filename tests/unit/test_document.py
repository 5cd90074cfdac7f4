"""A snapshot's document as data: whatever an import brings, it is a document that clones can be made from, or one clear error."""

import base64
import contextlib
import json
import os
import resource
import stat
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quark.errors import KernelMismatchError
from quark.store_errors import CorruptBlobError
from qvisor._native import ffi, lib
from qvisor.spec import SandboxSpec
from snapshotd import files
from snapshotd.layout import RUN, is_working_set
from snapshotd.metadata import FORMAT, Metadata

HEAD = struct.Struct("<IIiIII")  # recipes.c, struct recipe, up to the identity
IDENTITY_BYTES = 80
READ_ONLY = [True, False, True]  # the rootfs and two volumes


def recipe(index=3, root=0, flags=0, writable=0, name=b"etc/hostname", length=None, identity=bytes(IDENTITY_BYTES)):
    return HEAD.pack(index, root, flags, writable, len(name) if length is None else length, 0) + identity + name


def document():
    file = ["etc/hostname", "0" * 64, 1, 2, 3, 4, 5, 2, 3, 4, 0, 0, 0o100644, 0, 0]
    spec = SandboxSpec(("/bin/true", "x"), env={"K": "V"}).to_dict()
    spec["volumes"] = [["/srv", "/x", False], ["/srv", "/y", True], ["", "/z", False, "slot", True]]
    return {
        "format": FORMAT,
        "kernel": "ab" * 20,
        "ring": 2,
        "cpu_flags": ["avx"],
        "spec": spec,
        "ram_bytes": 64 << 20,
        "cpu_state": base64.b64encode(b"state").decode(),
        "recipes": base64.b64encode(recipe() + recipe(4, 1, os.O_RDWR, 1)).decode(),
        "files": [file],
        "stats": {"ram_used": 1, "pause_us": 2},
        "trigger": "file",
    }


def places(value, at=()):
    """The paths of everything in a document."""
    yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*at, key))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([1 << 63, 1 << 64, -1, "\0", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def is_believed(raw):
    """Whether it loads; then all that is made of it for a clone can be made."""
    try:
        meta = Metadata.load(raw)
    except (CorruptBlobError, KernelMismatchError):
        return False
    spec = SandboxSpec.from_dict(meta.spec)
    again = SandboxSpec.from_strings(spec.to_strings())
    assert again.to_dict() == spec.to_dict()
    "\0".join(spec.to_strings()).encode("utf-8", "surrogateescape")
    table = files.pack([files.File.from_json(f) for f in meta.files])
    assert [f.name for f in files.unpack(table)] == sorted(os.fsencode(f[0]) for f in meta.files)
    assert all(root <= len(spec.volumes) for _, root, _, _ in files.handles(meta.recipes))
    assert Metadata.load(meta.dump()) == meta
    return True


def test_a_sound_one():
    assert is_believed(json.dumps(document()).encode())


@settings(max_examples=400)
@given(st.data())
def test_one_part_is_something_else(data):
    changed = document()
    *way, last = data.draw(st.sampled_from([p for p in places(changed) if p]))
    holder = changed
    for key in way:
        holder = holder[key]
    if data.draw(st.booleans()) and isinstance(holder, dict):
        del holder[last]
    else:
        holder[last] = data.draw(ANYTHING)
    is_believed(json.dumps(changed).encode("utf-8", "surrogatepass"))


@settings(max_examples=100)
@given(st.sampled_from([(), ("spec",)]), st.text(), ANYTHING)
def test_one_key_more_is_one_clear_error(way, key, value):
    changed = document()
    holder = changed["spec"] if way else changed
    if key in holder:
        return
    holder[key] = value
    with pytest.raises(CorruptBlobError, match="malformed"):
        Metadata.load(json.dumps(changed).encode("utf-8", "surrogatepass"))


@settings(max_examples=200)
@given(st.binary() | st.integers(0, 300_000).map(lambda n: b"[" * n))
def test_any_bytes(raw):
    is_believed(raw)


RECIPES = st.lists(
    st.builds(
        recipe,
        index=st.integers(0, 8) | st.sampled_from([65535, 65536, 0xFFFFFFFF]),
        root=st.integers(0, 4) | st.just(0xFFFFFFFF),
        flags=st.sampled_from([0, 1, 2, 3, os.O_DIRECTORY, os.O_TRUNC, os.O_CREAT, os.O_TMPFILE, os.O_PATH, -1]),
        writable=st.integers(0, 2),
        name=st.binary(max_size=6),
        length=st.none() | st.integers(0, 8) | st.just(0xFFFFFFFF),
    ),
    max_size=4,
).map(b"".join)


@contextlib.contextmanager
def machine(path):
    """One whose places are all this directory."""
    out, config = ffi.new("struct qv **"), ffi.new("struct qv_config *")
    root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    assert lib.qv_create_names(out) == 0
    config.ram_limit, config.signals, config.nroots = 64 << 20, -1, len(READ_ONLY)
    for i, read_only in enumerate(READ_ONLY):
        config.roots[i], config.root_flags[i] = root, lib.QK_MOUNT_RO if read_only else 0
        config.stdio[i] = root
    assert lib.qv_configure(out[0], config) == 0
    yield out[0]
    lib.qv_destroy(out[0])
    os.close(root)


def taken_over(recipes):
    """Whether QVisor takes them."""
    with machine("/") as vm:
        return lib.qv_recipes_load(vm, recipes, len(recipes)) == 0


def test_open_files_of_volumes_are_looked_at_one_at_a_time(tmp_path):
    """A guest may have had more of them than whoever starts its clone has descriptors, and other work for these."""
    (tmp_path / "file").touch()
    names = [b"file"] * 2000 + [b"gone"]
    identity = (0, 0, 0, 0, 0, stat.S_IFREG | 0o644, 1, 0, 0, 0, 0, 0)
    recipes = b"".join(
        files._RECIPE.pack(3 + i, 1, os.O_RDONLY, 0, 4, 0, *identity) + name for i, name in enumerate(names)
    )
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lost = ffi.new("char[]", 4096)
    with machine(tmp_path) as vm:
        assert lib.qv_recipes_load(vm, recipes, len(recipes)) == 0
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, limits[1]))
        try:
            size = lib.qv_volumes_check(vm, lost, 4096)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert bytes(ffi.buffer(lost, size)) == b"1\0gone\0"


@settings(max_examples=400, deadline=None)
@given(RECIPES | st.binary() | st.tuples(RECIPES, st.integers(0, 400)).map(lambda p: p[0][: p[1]]))
def test_recipes_that_no_guest_could_have(recipes):
    """The document's check and QVisor's are of one mind; none makes a read-only place writable."""
    good = files.are_possible(recipes, READ_ONLY)
    assert good == taken_over(recipes)
    at = 0
    while good and at < len(recipes):
        index, root, flags, writable, length, _ = HEAD.unpack_from(recipes, at)
        assert not READ_ONLY[root] or not (writable or flags & os.O_ACCMODE)
        assert index >= 3
        at += HEAD.size + IDENTITY_BYTES + length


@given(
    st.binary(max_size=64)
    | st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70))).map(
        lambda runs: b"".join(RUN.pack(*r, 0) for r in runs)
    )
)
def test_working_sets(blob):
    if is_working_set(blob, 64):
        runs = list(RUN.iter_unpack(blob))
        assert all(gfn + pages <= 64 for gfn, pages, _ in runs)
        assert [r[0] for r in runs] == sorted(r[0] for r in runs)
