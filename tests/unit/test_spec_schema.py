"""A sandbox's description is one thing in four forms: the class, the API's message, the document of a snapshot, the strings of its layout.

Whoever adds a field to one of them is told here where it is missing.
"""

import json

from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st

from quark.api import sandbox_spec
from quark.sizes import MEMORY_MAX, MIB, SLOT, Volume
from quark.snapshot.v1 import sandboxes_pb2 as sb
from qvisor.spec import Changes, SandboxSpec
from snapshotd.daemon.convert import changes_of, spec_message, spec_of
from snapshotd.document import check_spec

# What a caller of the API cannot say: the daemon knows no signals that its caller ignores, and `reseed` is an option of the capture.
NOT_IN_API = {"ignored_signals", "reseed"}

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
names = texts.filter(bool)
paths = texts.map(lambda text: "/" + text)
slots = st.builds(
    Volume, st.just(""), paths, st.booleans(), st.from_regex(r"[a-z0-9_-]{1,8}", fullmatch=True), st.booleans()
)
volumes = st.lists(st.builds(Volume, paths, paths, st.booleans()) | slots, max_size=3).map(tuple)
numbers = st.integers(0, 2**32 - 2)
specs = st.builds(
    SandboxSpec,
    st.lists(texts, max_size=3).flatmap(lambda rest: names.map(lambda first: (first, *rest))),
    env=st.dictionaries(names.filter(lambda name: "=" not in name), texts, max_size=3),
    cwd=paths,
    rootfs=paths,
    volumes=volumes,
    memory=st.integers(1, MEMORY_MAX // SLOT).map(lambda n: n * SLOT),
    ring=st.sampled_from(["auto", "ring0", "ring3"]),
    hostname=names,
    uid=numbers,
    gid=numbers,
    ignored_signals=st.just(0),
    disk=st.integers(0, SLOT // MIB).map(lambda n: n * MIB),
)


def attributes(spec: SandboxSpec) -> dict:
    return json.loads(json.dumps(spec.to_dict()))


def fields(message: Descriptor) -> set[str]:
    return {name.removesuffix("_bytes") for name in message.fields_by_name}


def test_the_same_fields():
    assert fields(sb.SandboxSpec.DESCRIPTOR) == set(SandboxSpec.__slots__) - NOT_IN_API
    assert fields(sb.Volume.DESCRIPTOR) == set(Volume.__slots__)
    # Of a clone the message has what the program reads, and how it is restored, too.
    assert set(Changes.__slots__) <= fields(sb.CloneRequest.DESCRIPTOR)


@given(specs)
def test_to_the_message_and_back(spec):
    message = sb.SandboxSpec.FromString(spec_message(spec).SerializeToString())
    assert attributes(spec_of(message)) == attributes(spec)


@given(specs, st.booleans(), numbers)
def test_to_document_and_layout_and_back(spec, reseed, ignored):
    spec.reseed, spec.ignored_signals = reseed, ignored
    check_spec(attributes(spec))
    assert attributes(SandboxSpec.from_dict(attributes(spec))) == attributes(spec)
    assert attributes(SandboxSpec.from_strings(spec.to_strings())) == attributes(spec)


@given(specs)
def test_what_the_sdk_says(spec):
    given_volumes = [(v.source, v.target, *(["ro"] if v.read_only else [])) for v in spec.volumes if not v.slot]
    message = sandbox_spec(
        spec.argv,
        env={"PATH": "/bin", **spec.env},
        cwd=spec.cwd,
        rootfs=spec.rootfs,
        volumes=given_volumes,
        memory=spec.memory,
        disk=spec.disk,
        ring=spec.ring,
    )
    said = attributes(spec_of(message))
    known = attributes(spec) | {"env": {"PATH": "/bin", **spec.env}, "hostname": "quark", "uid": 0, "gid": 0}
    known["volumes"] = [v.to_list() for v in spec.volumes if not v.slot]
    assert said == known


@given(
    st.builds(
        Changes,
        paths,
        st.just(0),
        st.lists(st.builds(Volume, paths, paths, st.booleans()), max_size=2).map(tuple),
        st.just(0),
        paths,
        host_paths=st.booleans(),
    )
)
def test_changes_of_a_clone(changes):
    message = sb.CloneRequest(snapshot="s", cwd=changes.cwd, rootfs=changes.rootfs, host_paths=changes.host_paths)
    for v in changes.volumes:
        message.volumes.add(source=v.source, target=v.target, read_only=v.read_only, slot=v.slot)
    assert changes_of(message).to_strings() == changes.to_strings()
    assert Changes.from_strings(changes.to_strings()).to_strings() == changes.to_strings()
