"""Snapshots where the files are others: other inodes (a second host is a mount namespace with a copy of the rootfs), missing ones, changed ones."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest

import quark as sdk
from quark.errors import SnapshotFilesError

SOURCE = Path(__file__).with_name("portable.c")
PAGES = 400
BEFORE = "closed CLOS\n"
AFTER = "mapped LIB! LIB!\nread abcd then efgh\nagain LIB!\nsame file\nclosed CLOS\n"
GONE = AFTER.replace("closed CLOS", "closed gone")
STATUS = SnapshotFilesError.exit_code
ALL = {"/bin/program", "/data/deep/library", "/data/open"}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("portable") / "program"
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-static", "-o", path, SOURCE], check=True)
    return path


@pytest.fixture
def rootfs(tmp_path, program):
    root = tmp_path / "rootfs"
    for name in ("bin", "data/deep", "dev", "proc", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy2(program, root / "bin" / "program")
    (root / "data/deep/library").write_bytes(b"LIB!" * 1024 * PAGES)
    (root / "data/open").write_bytes(b"abcdefgh")
    (root / "data/closed").write_bytes(b"CLOSED")
    return root


def create(quark, rootfs, *options, name="a"):
    done = quark(
        "snapshot", "create", name, "--ready-file", "--rootfs", rootfs, *options, "--json", "--", "/bin/program"
    )
    assert done.status == 0, done.err
    assert done.out.startswith(BEFORE)
    return json.loads(done.out.splitlines()[-1])


def run(quark, *args, name="a"):
    return quark("run", "--from-snapshot", name, "--", *args)


def replace_with_copy(rootfs):
    """Other inodes, other ctimes, the same content and mtimes."""
    old = rootfs.with_name("old")
    rootfs.rename(old)
    subprocess.run(["cp", "-a", old, rootfs], check=True)
    shutil.rmtree(old)


def check(quark, name="a"):
    done = quark("snapshot", "check", name, "--json")
    found = json.loads(done.out)
    assert done.status == (0 if found["satisfied"] else STATUS)
    return {f["path"]: f["state"] for f in found["files"]}


def refused(done, *words):
    assert done.status == STATUS, done
    assert done.out == ""
    assert done.err.count("\n") == 1, done.err
    for word in words:
        assert word in done.err


BOTH_WAYS = True


def test_other_inodes(quark, rootfs):
    create(quark, rootfs)
    assert run(quark).out == AFTER
    replace_with_copy(rootfs)
    assert run(quark).out == AFTER
    assert run(quark).out == AFTER, "by what the first one found"
    os.utime(rootfs / "data/open", (1, 1))
    assert run(quark).out == AFTER
    assert set(check(quark).values()) == {"ok"}
    assert set(check(quark)) == ALL


@pytest.mark.alone
def test_second_host(quark, rootfs, tmp_path):
    """The same path names another tree there, with a file changed that nothing depends on."""
    create(quark, rootfs)
    there = tmp_path / "there"
    subprocess.run(["cp", "-a", rootfs, there], check=True)
    (there / "data/closed").write_bytes(b"THERE!")
    script = f'mount --bind {there} {rootfs} && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", *quark.command("run", "--from-snapshot", "a")]
    for _ in range(2):  # each host in turn
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, AFTER.replace("CLOS", "THER")), done
        assert run(quark).out == AFTER
    (there / "data/open").write_bytes(b"abcdEFGH")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == STATUS
    assert "/data/open (changed)" in done.stderr


def test_what_is_not_there_is_refused(quark, rootfs):
    create(quark, rootfs)
    library, opened = rootfs / "data/deep/library", rootfs / "data/open"
    opened.write_bytes(b"abcdXXXX")
    refused(run(quark), "/data/open (changed)", "snapshot check a", "--self-contained")
    library.rename(rootfs / "elsewhere")
    refused(run(quark), "2 files", "/data/deep/library (missing)", "/data/open (changed)")
    states = check(quark)
    assert states == {
        "/bin/program": "ok",
        "/data/deep/library": "missing",
        "/data/open": "changed",
    }
    text = quark("snapshot", "check", "a").out.splitlines()
    assert text[0].split() == ["STATE", "SIZE", "CONTAINED", "FILE"]
    assert any(line.startswith("missing") and line.endswith("/data/deep/library") for line in text)
    refused(quark("snapshot", "export", "a", rootfs / "export"), "/data/open (changed)")
    assert not (rootfs / "export").exists()
    (rootfs / "elsewhere").rename(library)
    opened.write_bytes(b"abcdefgh")
    assert run(quark).out == AFTER


def test_self_contained(quark, rootfs):
    made = create(quark, rootfs, "--self-contained")
    assert made["self_contained"]
    assert made["bytes_stored"] < 8 << 20
    assert run(quark).out == AFTER
    (rootfs / "data/open").write_bytes(b"abcdXXXX")
    assert run(quark).out == AFTER
    (rootfs / "data/deep/library").unlink()
    assert run(quark).out == AFTER
    states = check(quark)
    assert states["/data/deep/library"] == states["/data/open"] == "from the store"
    shutil.rmtree(rootfs)
    assert run(quark).out == GONE
    assert quark("store", "fsck").status == 0


def test_contents_are_stored_once_and_collected(quark, rootfs):
    random = os.urandom(3 << 20)
    (rootfs / "data/deep/library").write_bytes(b"LIB!" + random)
    plain = create(quark, rootfs, name="plain")
    first = create(quark, rootfs, "--self-contained", name="first")
    second = create(quark, rootfs, "--self-contained", name="second")
    assert not plain["self_contained"]
    assert first["bytes_stored"] > 2 << 20
    assert second["bytes_stored"] < first["bytes_stored"] / 2
    before = json.loads(quark("store", "stats", "--json").out)["store_bytes"]
    assert quark("snapshot", "rm", "first", "second").status == 0
    after = json.loads(quark("store", "stats", "--json").out)["store_bytes"]
    assert before - after > 2 << 20
    assert quark("store", "fsck").status == 0
    assert run(quark, name="plain").status == 0


@pytest.mark.alone
def test_export_brings_the_files_along(quark, rootfs, tmp_path):
    create(quark, rootfs)
    assert run(quark).status == 0  # a working set, too
    assert quark("snapshot", "export", "a", tmp_path / "export").status == 0
    shutil.rmtree(rootfs)
    done = quark("snapshot", "import", tmp_path / "export", "--name", "b", "--host-paths", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["self_contained"]
    assert run(quark, name="b").out == GONE
    assert quark("store", "fsck").status == 0


@pytest.mark.alone
def test_encrypted(quark, rootfs, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32).hex().encode())
    key.chmod(0o600)
    secret = os.urandom(16).hex().encode()
    (rootfs / "data/open").write_bytes(b"abcdefgh" + secret * 300)
    options = ("--domain", "sealed", "--key", f"file:{key}")
    done = quark(
        "snapshot",
        "create",
        "a",
        "--ready-file",
        "--self-contained",
        "--rootfs",
        rootfs,
        *options,
        "--",
        "/bin/program",
    )
    assert done.status == 0, done.err
    (rootfs / "data/open").unlink()
    assert quark("run", "--from-snapshot", "a", *options).out == AFTER
    assert not any(secret in path.read_bytes() for path in Path(quark.root).rglob("*") if path.is_file())


@pytest.mark.alone
def test_layers_keep_their_files(quark, daemon, rootfs):  # noqa: ARG001 - has to run
    create(quark, rootfs)
    replace_with_copy(rootfs)
    sandbox = quark("run", "--detach", "--from-snapshot", "a", "--", "hold").out.strip()
    assert quark("capture", sandbox, "layer").status == 0
    assert quark("capture", sandbox, "whole", "--self-contained").status == 0
    assert quark("kill", sandbox).status == 0
    assert set(check(quark, "layer")) == ALL
    replace_with_copy(rootfs)
    assert set(check(quark, "layer").values()) == {"ok"}
    again = quark("run", "--detach", "--from-snapshot", "whole").out.strip()
    assert quark("capture", again, "third").status == 0
    assert quark("kill", again).status == 0
    (rootfs / "data/deep/library").unlink()
    assert check(quark, "third")["/data/deep/library"] == "from the store", "inherited"
    assert check(quark, "layer")["/data/deep/library"] == "missing"
    refused(run(quark, name="layer"), "/data/deep/library (missing)")


@pytest.mark.alone
def test_api(quark, daemon, rootfs):  # noqa: ARG001 - has to run
    with sdk.connect(root=str(quark.root)) as client:
        client.create_snapshot("a", ["/bin/program"], rootfs=str(rootfs))
        made = client.create_snapshot("b", ["/bin/program"], rootfs=str(rootfs), self_contained=True)
        assert made.self_contained
        assert all(d.satisfied and not d.contained for d in client.check_snapshot("a"))
        (rootfs / "data/open").unlink()
        found = {d.path: d for d in client.check_snapshot("a")}
        assert found["/data/open"].state == "missing"
        assert not found["/data/open"].satisfied
        with pytest.raises(SnapshotFilesError) as e:
            client.run(snapshot="a")
        assert e.value.files == [("/data/open", "missing")]
        assert e.value.grpc_code == grpc.StatusCode.FAILED_PRECONDITION.name
        assert client.run(snapshot="b").stdout.decode() == AFTER


@pytest.mark.alone
def test_volumes(quark, tmp_path):
    """Of a volume a closed file is just a closed file, and an open one goes on when a regular file is there."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "config").write_text("one\n")
    (volume / "open").write_text("first\nsecond\n")
    script = "cat /vol/config; exec 3</vol/open; read x <&3; echo ready > /dev/quark; cat /vol/config; cat <&3"
    done = quark("snapshot", "create", "v", "--ready-file", "-v", f"{volume}:/vol", "--", "/bin/sh", "-c", script)
    assert done.status == 0, done.err
    (volume / "config").write_text("two\n")
    assert run(quark, name="v").out == "two\nsecond\n"
    (volume / "config").unlink()
    (volume / "config").write_text("three\n")
    (volume / "new").write_text("first\nanother\n")
    (volume / "new").rename(volume / "open")
    assert run(quark, name="v").out == "three\nanother\n"
    (volume / "open").unlink()
    refused(run(quark, name="v"), "/vol/open (missing)")
    assert check(quark, "v")["/vol/open"] == "missing"
