"""Guest programs that are hostile: they send requests to QVisor themselves."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from snapshotd.metadata import hardware_kvm

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "c"

pytestmark = pytest.mark.skipif(hardware_kvm(), reason="the guest kernel is out of its programs' reach on hardware KVM")


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """A root file system with all the programs."""
    folder = tmp_path_factory.mktemp("border")
    for source in PROGRAMS.glob("*.c"):
        command = ["gcc", "-O1", "-Wall", "-Werror", "-static", f"-I{REPOSITORY / 'qkernel' / 'include'}"]
        subprocess.run([*command, "-o", folder / source.stem, source], check=True)
    with (folder / "big").open("wb") as f:
        f.truncate(64 << 20)
        f.seek(-4096, 2)
        f.write(b"x" * 4096)
    (folder / "marks").write_bytes(b"MARK\n" + b"m" * 4091)
    return folder


@pytest.fixture
def hostile(quark, image):
    """Runs one of the programs."""

    def run(program, *options):
        return quark("run", "--rootfs", image, "--memory", "256M", *options, "--", f"/{program}")

    return run


def test_one_request_at_a_time(hostile):
    done = hostile("two_requests")
    assert done.out == "rounds 20 overlaps 0\n", done


def test_the_log_waits_for_no_reader(quark, image):
    """More of it than a pipe holds, which nobody reads."""
    reader, writer = os.pipe()
    try:
        command = quark.command("run", "--rootfs", image, "--memory", "256M", "--", "/log_flood")
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, timeout=60, check=False)
    finally:
        os.close(reader)
        os.close(writer)
    assert (done.returncode, done.stdout) == (0, b"answered\n"), done


def test_memory_ends_at_the_limit(hostile):
    done = hostile("grow_race")
    assert (done.status, done.out) == (0, "limit kept\n"), done


def test_a_handle_is_closed_once(hostile):
    done = hostile("closes")
    assert (done.status, done.out) == (0, "closed again 0\n"), done


def test_no_block_beyond_the_vcpus(hostile):
    done = hostile("other_vcpu")
    assert (done.status, done.out) == (66, "alone 1\n"), done
    assert "touched memory that does not exist" in done.err, done


def test_no_privileges_on_the_host(hostile, tmp_path):
    for name in ("hosts", "hosts2", "hosts3"):
        (tmp_path / name).write_bytes(b"#!/bin/true")
        (tmp_path / name).chmod(0o6755)
    done = hostile("privileges", "-v", f"{tmp_path}:/volume")
    assert (
        done.out
        == "create 1\nrename -22\ndirectory 0\nchmod 0\nchmod directory 0\nwrite 4\ntruncate 0\nmap 0\nread into it 4\n"
    ), done
    assert (tmp_path / "hosts3").read_bytes() != b"#!/bin/true"
    modes = {p.name: p.lstat().st_mode for p in tmp_path.iterdir() if p.name != "state"}
    assert set(modes) == {"source", "directory", "hosts", "hosts2", "hosts3"}
    for name, mode in modes.items():
        assert stat.S_ISREG(mode) or stat.S_ISDIR(mode), name
        assert stat.S_IMODE(mode) == 0o755, name


def test_no_locks_on_what_is_read_only(hostile, tmp_path):
    (tmp_path / "file").touch()
    done = hostile("host_locks", "-v", f"{tmp_path}:/one:ro", "-v", f"{tmp_path}:/two")
    assert done.out == "-30\n-30\n0\n", done


def test_memory_beyond_4_gib_is_restored(quark, image):
    options = ("--ready-file", "--rootfs", image, "--memory", "4160M")
    done = quark("snapshot", "create", "far", *options, "--", "/far_memory")
    assert done.status == 0, done
    for _ in range(2):
        assert quark("run", "--from-snapshot", "far").out == "MARK\n" * 5


def test_the_host_kernel_is_not_seen(quark, image):
    """QKernel has its own /proc, /sys and /dev; a hostile one asks the host for its."""
    program = image / "hidden"
    names = ["proc", f"proc/{os.getpid()}/environ", "proc/self", "proc/kcore", "sys/kernel", "dev/pts", "dev/pts/0"]
    arguments = [word for name in names for word in ("0", name)]
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    devtmpfs = {os.makedev(*map(int, m[2].split(":"))) for m in mounts if m[m.index("-") + 1] == "devtmpfs"}
    done = quark("run", "--", program, *arguments)
    answers = dict(line.split(": ", 1) for line in done.out.splitlines() if ": changes" not in line)
    assert answers["proc"] == "lookup 1 error 0, listing 0, changes through it -30", done
    for name in names[1:]:
        if name.startswith("dev/") and not os.path.ismount("/dev/pts"):
            continue
        if name != "dev/pts" or os.stat("/dev").st_dev in devtmpfs:
            assert answers[name].endswith("error 2, open -2"), (name, done)
            assert int(answers[name].split()[1]) <= name.count("/"), (name, done)
        else:
            assert answers[name] == "lookup 2 error 0, listing 0, changes through it -30", done


def test_the_state_directory_is_not_seen(quark, image, tmp_path):
    quark.root.mkdir()
    (quark.root / "secret").write_text("secret")
    (tmp_path / "volume").mkdir()
    before = os.stat(quark.root)
    done = quark("run", "-v", f"{tmp_path}:/v", "--", image / "hidden", "1", "state", "1", "state/secret")
    assert done.out.splitlines() == [
        "state: lookup 1 error 0, listing 0, changes through it -16",
        "state: changes -16 -16",
        "state/secret: lookup 1 error 2, open -2",
        "state/secret: changes -2 -2",
    ], done
    assert (quark.root / "secret").read_text() == "secret"
    after = os.stat(quark.root)
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    listing = quark("run", "-v", f"{tmp_path}:/v", "--", "/bin/ls", "-a", "/v/state")
    assert (listing.status, "secret" in listing.out) == (0, False), listing


@pytest.mark.parametrize("source", ["/proc", "/proc/self", "/sys/kernel", "/proc/version"])
def test_a_volume_is_files(quark, source):
    done = quark("run", "-v", f"{source}:/v:ro", "--", "/bin/true")
    assert done.status not in {0, 70}, done
    assert "an interface of the host's kernel" in done.err
    assert done.err.count("\n") == 1


def test_a_volume_is_not_of_the_state(quark):
    quark.root.mkdir()
    (quark.root / "store").mkdir()
    (quark.root / "store" / "file").touch()
    for source in (quark.root, quark.root / "store", quark.root / "store" / "file"):
        done = quark("run", "-v", f"{source}:/v:ro", "--", "/bin/true")
        assert (done.status != 0, "state directory" in done.err) == (True, True), done
