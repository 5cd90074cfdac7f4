"""Bad input: one clear line, its own exit status, nothing left behind."""

import os
import subprocess
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3.11"
BOTH_WAYS = True
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace of its own")


def one_line(done, status, *words):
    assert done.status == status, done
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["run"], 2, ["no program"]),
        (["run", "--nonsense", "--", "/bin/true"], 2, ["--nonsense"]),
        (["run", "--cwd", "tmp", "--", "/bin/true"], 2, ["absolute"]),
        (["run", "--ring", "ring1", "--", "/bin/true"], 2, ["ring1"]),
        (["run", "--memory", "1K", "--", "/bin/true"], 64, ["1K"]),
        (["run", "--memory", "9999G", "--", "/bin/true"], 64, ["9999G"]),
        (["run", "--memory", "much", "--", "/bin/true"], 64, ["much"]),
        (["run", "--rootfs", "/does/not/exist", "--", "/bin/true"], 62, ["/does/not/exist"]),
        (["run", "--rootfs", "/etc/hostname", "--", "/bin/true"], 62, ["/etc/hostname"]),
        (["run", "-v", "/does/not/exist:/data", "--", "/bin/true"], 63, ["/does/not/exist"]),
        (["run", "-v", "/usr:/", "--", "/bin/true"], 63, ["'/'"]),
        (["run", "-v", "/usr://", "--", "/bin/true"], 63, ["'/'"]),
        (["run", "-v", "/usr:/x/./y", "--", "/bin/true"], 63, ["`.`"]),
        (["run", "-v", "/usr:/proc", "--", "/bin/true"], 63, ["/proc"]),
        (["run", "-v", "/usr:/proc/self/x", "--", "/bin/true"], 63, ["/proc"]),
        (["run", "-v", "/usr:/sys/x", "--", "/bin/true"], 63, ["/sys"]),
        (["run", "-v", "/usr:/dev", "--", "/bin/true"], 63, ["/dev"]),
        (["run", "-v", "/usr:/x", "-v", "/etc://x/", "--", "/bin/true"], 63, ["'/x'", "twice"]),
        (["run", "-v", "/usr:/etc/hostname/x", "--", "/bin/true"], 126, ["/etc/hostname/x"]),
        (["run", "-v", "/usr:/dev/fd/9", "--", "/bin/true"], 126, ["/dev/fd/9"]),
        (["run", "--", ""], 127, ["no such file"]),
        (["run", "--", "/does/not/exist"], 127, ["/does/not/exist"]),
        (["run", "--", "no-such-program"], 127, ["no-such-program"]),
        (["run", "--", "/etc/hostname"], 126, ["/etc/hostname"]),
        (["run", "--", "/etc"], 126, ["/etc"]),
        (["run", "--from-snapshot", "absent"], 40, ["absent"]),
        (["run", "--from-snapshot", "absent", "--memory", "1X"], 64, ["1X"]),
        (["snapshot", "show", "absent"], 40, ["absent"]),
        (["snapshot", "rm", "absent"], 40, ["absent"]),
        (["snapshot", "create", "x", "--", "/bin/true"], 2, ["trigger"]),
        (["snapshot", "create", "x", "--ready-file", "--volume-slot", "in:/", "--", "/bin/true"], 63, ["'/'"]),
        (["snapshot", "create", "x", "--ready-log", "(", "--", "/bin/true"], 2, ["regular expression"]),
        (["snapshot", "create", "x", "--ready-file", "--", "/bin/true"], 71, ["capture point"]),
        (["bench", "nothing"], 2, ["startup"]),
    ],
)
def test_one_line_and_a_status(quark, args, status, words):
    one_line(quark(*args), status, *words)
    assert not set(quark.processes()) - set(quark.pagers())


@pytest.mark.parametrize("args", ["--help", "--version", "snapshot list --json"])
def test_output_that_cannot_be_written(quark, args):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            quark.command(*args.split()), stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (85, 1), done
    assert b"standard output: No space left on device" in done.stderr


def test_not_an_elf_and_a_missing_interpreter(quark, tmp_path):
    text = tmp_path / "text"
    text.write_text("this is no program")
    text.chmod(0o755)
    one_line(quark("run", "--", str(text)), 126, str(text), "not an x86-64 ELF")
    script = tmp_path / "script"
    script.write_text("#!/does/not/exist\n")
    script.chmod(0o755)
    one_line(quark("run", "--", str(script)), 127, str(script))
    cut = tmp_path / "cut"
    cut.write_bytes(Path("/bin/true").read_bytes()[:200])
    cut.chmod(0o755)
    one_line(quark("run", "--", str(cut)), 126, str(cut))


@pytest.mark.alone
@AS_ROOT
def test_no_permission_for_kvm(quark, tmp_path):
    tmp_path.chmod(0o755)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *quark.command("run", "--", "/bin/true")],
        capture_output=True,
        text=True,
        check=False,
    )
    if os.stat("/dev/kvm").st_mode & 0o006 == 0o006:
        pytest.skip("/dev/kvm is open to everybody here")
    assert done.returncode == 61, done.stderr
    assert "kvm" in done.stderr


@pytest.mark.alone
@AS_ROOT
def test_no_kvm(quark):
    hide = 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$0" "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", hide, *quark.command("run", "--", "/bin/true")],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.returncode == 60, done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def taken(quark):
    """A small snapshot called `small`."""
    code = "import os; f = os.open('/dev/quark', os.O_RDWR); os.write(f, b'ready\\n'); print('on')"
    done = quark("snapshot", "create", "small", "--ready-file", "--", PYTHON, "-c", code)
    assert done.status == 0, done.err
    return quark


def test_name_taken(taken):
    done = taken("snapshot", "create", "small", "--ready-after", "0.1", "--", "/bin/sleep", "9")
    one_line(done, 41, "small")


@pytest.mark.parametrize("damage", ["truncate", "flip"])
@pytest.mark.parametrize("kind", ["packs", "maps"])
def test_damaged_files(taken, kind, damage):
    file = max((taken.root / "domains" / "default" / kind).iterdir(), key=lambda f: f.stat().st_size)
    data = bytearray(file.read_bytes())
    if damage == "truncate":
        del data[len(data) // 2 :]
    else:
        for at in range(len(data) // 8, len(data), max(1, len(data) // 64)):
            data[at] ^= 0x40
    file.chmod(0o600)
    file.write_bytes(data)
    done = taken("run", "--from-snapshot", "small")
    assert 40 <= done.status <= 49 or done.status == 67, done
    assert "on" not in done.out
    assert done.err.strip()


@pytest.mark.alone
@AS_ROOT
def test_an_error_that_nobody_takes(quark):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(quark.command("run"), stdout=full, stderr=full, timeout=60, check=False)
    assert done.returncode == 2


@pytest.mark.parametrize("state", ["/proc/nowhere", "/dev/null/state", "/sys/state"])
def test_a_state_directory_that_cannot_be_made(quark, tmp_path, state):
    stream = tmp_path / "stream"
    stream.touch()
    for args in (["create", "x", "--ready-file", "--", "/bin/true"], ["import", str(stream)]):
        command = quark.command("snapshot", *args)
        command[command.index("--root") + 1] = state
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in {50, 51}, done
        assert len(done.stderr.splitlines()) == 1, done
        assert state in done.stderr


def test_disk_full_while_capturing(quark, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    code = (
        "import os; x = [os.urandom(1 << 20) for _ in range(30)]; "
        "f = os.open('/dev/quark', os.O_RDWR); os.write(f, b'ready\\n')"
    )
    command = [*quark.command(), "snapshot", "create", "x", "--ready-file", "--", PYTHON, "-c", code]
    command[command.index("--root") + 1] = str(small / "state")
    inside = 'mount -t tmpfs -o size=8m none "$0" && "$@"; s=$?; find "$0" -name "tmp-*" | wc -l; du -sk "$0" | cut -f1; exit $s'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside, str(small), *command], capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert 40 <= done.returncode <= 49, done
    assert "space" in done.stderr
    assert len(done.stderr.splitlines()) == 1
