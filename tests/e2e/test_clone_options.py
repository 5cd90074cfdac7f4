"""What a clone may have otherwise than its snapshot: environment and directory in the process, memory, and directories in its volume slots."""

import json
import sys
from pathlib import Path

import pytest

import quark as sdk
from quark.errors import MemorySizeError, UsageError, VolumeError

BOTH_WAYS = True
REPOSITORY = Path(__file__).parents[2]
GUEST = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\nimport os, quark_guest\n"
SLOTS = (
    "--volume-slot",
    "in:/data/in:ro",
    "--volume-slot",
    "out:/data/out",
    "--volume-slot",
    "extra:/data/extra:optional",
)
LOOK = """
warm = [sorted(os.listdir("/data/" + d)) for d in ("in", "out", "extra")]
try:
    open("/data/out/early", "w"); warm.append("written")
except OSError as e:
    warm.append(type(e).__name__)
quark_guest.ready()
print(warm, [sorted(os.listdir("/data/" + d)) for d in ("in", "out", "extra")])
print(open("/data/in/a").read(), end="")
open("/data/out/b", "w").write("from the clone\\n")
os.mkdir("/data/out/d")
print(os.stat("/data/in/a").st_size, os.stat("/data/out").st_nlink, open("/data/out/b").read(), end="")
try:
    open("/data/in/c", "w")
except OSError as e:
    print(e.strerror)
"""


def create(quark, code, *options, memory="128M"):
    done = quark(
        "snapshot",
        "create",
        "s",
        "--ready-file",
        "--memory",
        memory,
        *options,
        "--",
        sys.executable,
        "-u",
        "-c",
        GUEST + code,
    )
    assert done.status == 0, done.err


@pytest.fixture
def tree(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name / "out").mkdir()
        (tmp_path / name / "in" / "a").write_text(f"content of {name}\n")
    return tmp_path


def test_each_clone_fills_the_slots(quark, tree):
    create(quark, LOOK, *SLOTS)
    for name in ("one", "two"):
        d = tree / name
        done = quark("run", "--from-snapshot", "s", "-v", f"in={d}/in", "-v", f"out={d}/out")
        assert done.out == (
            f"[[], [], [], 'FileNotFoundError'] [['a'], [], []]\ncontent of {name}\n15 3 from the clone\nRead-only file system\n"
        ), done.err
        assert (d / "out" / "b").read_text() == "from the clone\n"
        assert (d / "out" / "d").is_dir()
        assert not (d / "in" / "c").exists()


def test_a_clone_can_take_less_than_the_slot_allows(quark, tree):
    code = """
quark_guest.ready()
try:
    open("/data/out/b", "w")
except OSError as e:
    print(e.strerror)
"""
    create(quark, code, "--volume-slot", "out:/data/out")
    assert quark("run", "--from-snapshot", "s", "-v", f"out={tree}/one/out:ro").out == "Read-only file system\n"
    assert not (tree / "one/out/b").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "volume slot 'in' (/data/in) of snapshot 's' is not filled; give -v in=HOSTDIR"),
        (("-v", "in={}", "-v", "in={}", "-v", "out={}"), "filled twice"),
        (("-v", "in={}", "-v", "out={}", "-v", "huh={}"), "has no volume slot 'huh'; its slots are in, out, extra"),
        (("-v", "in={}/nothing", "-v", "out={}"), "nothing: No such file or directory"),
        (("-v", "in={}/in/a", "-v", "out={}"), "is a file; slot 'in' takes a directory"),
        (("-v", "in={}", "-v", "out={}", "-v", "{}:/somewhere"), "has no volume at /somewhere"),
        (("-v", "{}"), "is not SLOT=HOSTDIR[:ro]"),
        (("--ring", "auto"), "--ring belongs to the snapshot"),
        (("--cwd", "here"), "--cwd 'here' is not an absolute path"),
        (("--memory", "64M"), "is less than what snapshot 's' has already"),
    ],
)
def test_what_a_clone_cannot_have_is_refused(quark, tree, options, says):
    create(quark, "x = bytearray(80 << 20); quark_guest.ready(); print('ran')", *SLOTS)
    done = quark("run", "--from-snapshot", "s", *(o.format(tree / "one") for o in options))
    assert done.status not in {0, 1}
    assert done.out == ""
    assert says in done.err
    assert done.err.count("\n") <= 2, done.err


@pytest.mark.parametrize("slot", ["data", "data:rel", "da/ta:/x", ":/x", "data:/x:rx"])
def test_a_bad_slot_is_refused(quark, slot):
    done = quark("snapshot", "create", "s", "--ready-file", "--volume-slot", slot, "--", "/bin/true")
    assert done.status == 2
    assert "is not NAME:/GUESTPATH[:ro][:optional]" in done.err


def test_environment_and_directory_are_the_process_s(quark):
    code = """
os.environ["LEFT"] = "alone"
quark_guest.ready()
import subprocess
print(os.environ["K"], os.environ["LEFT"], os.getcwd(), subprocess.check_output(["sh", "-c", "echo $K; pwd"]).decode().split())
"""
    create(quark, code, "--env", "K=before", "--cwd", "/tmp")
    done = quark("run", "--from-snapshot", "s", "--env", "K=a=b", "--cwd", "/usr/lib")
    assert done.out == "a=b alone /usr/lib ['a=b', '/usr/lib']\n", done.err
    assert quark("run", "--from-snapshot", "s").out == "before alone /tmp ['before', '/tmp']\n"
    done = quark("run", "--from-snapshot", "s", "--cwd", "/nowhere")
    assert "FileNotFoundError" in done.err
    assert "/nowhere" in done.err


FILL = """
quark_guest.ready()
print(next(int(l.split()[1]) >> 10 for l in open("/proc/meminfo") if l.startswith("MemTotal")), flush=True)
parts = []
for i in range(int(sys.argv[1]) if len(sys.argv) > 1 else 20):
    parts.append(b"x" * (16 << 20))
print("filled", flush=True)
"""


@pytest.mark.parametrize(("memory", "ends"), [("", "137"), ("1G", "0"), ("256M", "137"), ("8G", "0")])
def test_memory_of_a_clone(quark, memory, ends):
    """320 MiB in a clone of a sandbox of 192 MiB."""
    create(quark, FILL, memory="192M")
    done = quark("run", "--from-snapshot", "s", *(("--memory", memory) if memory else ()))
    assert str(done.status) == ends, done
    wanted = {"": 192, "1G": 1024, "256M": 256, "8G": 8192}[memory]
    assert done.out.splitlines()[0] == str(wanted)
    assert ("filled" in done.out) == (ends == "0")


def test_a_layer_keeps_what_its_sandbox_had(quark, tree):
    """A clone with a higher limit and filled slots is captured itself."""
    if quark.daemon is None:
        pytest.skip("captures of running sandboxes need a daemon")
    code = "quark_guest.ready(); sys.stdin.readline(); print(sorted(os.listdir('/data/in')), len(b'x' * (300 << 20)))"
    create(quark, code, "--volume-slot", "in:/data/in", memory="192M")
    with sdk.connect(root=str(quark.root)) as client:
        box = client.start(snapshot="s", memory="1G", volumes={"in": str(tree / "one/in")})
        box.capture("layer")
        box.kill()
        assert client.run(snapshot="layer", stdin=b"\n").stdout == b"['a'] 314572800\n"
        other = {"in": str(tree / "one/out")}
        assert client.run(snapshot="layer", stdin=b"\n", volumes=other).stdout == b"[] 314572800\n"


def test_the_sdk(quark, tree):
    if quark.daemon is None:
        pytest.skip("the SDK is a daemon's client")
    code = "d = quark_guest.ready(); print(os.getcwd(), os.environ['K'], os.listdir('/data/in'))"
    with sdk.connect(root=str(quark.root)) as client:
        argv = [sys.executable, "-c", GUEST + code]
        client.create_snapshot("s", argv, memory="256M", volume_slots=["in:/data/in:ro"])
        options = {"env": {"K": "V"}, "cwd": "/usr", "memory": "512M"}
        result = client.run(snapshot="s", volumes={"in": (str(tree / "one/in"), "ro")}, **options)
        assert result.stdout == b"/usr V ['a']\n", result.stderr
        with pytest.raises(VolumeError, match=r"slot 'in'.* is not filled"):
            client.run(snapshot="s", **options)
        with pytest.raises(VolumeError, match="no volume slot 'x'"):
            client.run(snapshot="s", volumes={"x": "/"})
        with pytest.raises(MemorySizeError):
            client.run(snapshot="s", memory=1)
        with pytest.raises(UsageError, match="ring belongs to the snapshot"):
            client.run(snapshot="s", ring="auto")


def test_show_names_the_slots(quark):
    create(quark, "quark_guest.ready()", *SLOTS)
    shown = json.loads(quark("snapshot", "show", "s", "--json").out)
    assert shown["volume_slots"] == ["in", "out", "extra"]
