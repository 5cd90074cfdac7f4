"""What a sandbox does at its limits: memory (the largest process is killed, with a line that says so) and files in guest memory (ENOSPC)."""

import json

import pytest

import quark as sdk

PYTHON = "/usr/bin/python3.11"
HOG = "x = []\nwhile True: x.append(b'1' * (1 << 20))"
FULL = """
import errno, os, subprocess
def fill():
    n = 0
    try:
        with open('/tmp/full', 'wb', 0) as f:
            while True: n += f.write(b'1' * 65536)
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
    return n >> 20
def free(): s = os.statvfs('/tmp'); return s.f_bavail * s.f_frsize >> 20
LIMIT = os.statvfs('/tmp').f_blocks * os.statvfs('/tmp').f_frsize >> 20
"""
PARENT = f"""
import subprocess, sys
done = subprocess.run([sys.executable, '-c', {HOG!r}])
print(done.returncode)
"""


def test_the_first_program_is_killed_with_a_reason(quark):
    done = quark("run", "--memory", "128M", "--", PYTHON, "-c", HOG)
    assert done.status == 137
    assert done.err == "quark: guest memory limit of 128 MiB reached: python3.11 (pid 1) was killed\n"


def test_a_child_is_killed_and_the_sandbox_goes_on(quark):
    done = quark("run", "--memory", "128M", "--", PYTHON, "-c", PARENT)
    assert (done.status, done.out) == (0, "-9\n")
    assert done.err.startswith("quark: guest memory limit of 128 MiB reached: python3.11 (pid ")
    assert done.err.count("\n") == 1


def test_the_daemon_and_the_sdk_say_why(quark, daemon):  # noqa: ARG001 - has to run
    with sdk.connect(root=str(quark.root)) as client:
        reason = client.run([PYTHON, "-c", HOG], memory="128M").sandbox.end_reason
        assert reason == "guest memory limit of 128 MiB reached: python3.11 (pid 1) was killed"
        assert client.run([PYTHON, "-c", PARENT], memory="128M").sandbox.end_reason == ""
        assert client.run(["/bin/sh", "-c", "kill -9 $$"]).sandbox.end_reason == ""
    listed = json.loads(quark("ps", "--all", "--json").out)
    assert [s["end_reason"] for s in listed].count(reason) == 1


def test_a_full_disk_kills_nobody(quark):
    code = FULL + (
        "assert LIMIT == 64, LIMIT\n"  # half of the memory
        "assert 60 <= fill() <= 64 and free() == 0\n"
        "assert subprocess.run(['/bin/true']).returncode == 0\n"
        "assert len(bytearray(8 << 20))\n"
        "os.truncate('/tmp/full', 4 << 20); assert 58 <= free() <= 60, free()\n"
        "f = open('/tmp/full', 'r+b'); assert f.read(1) == b'1'\n"
        "os.unlink('/tmp/full'); f.close(); assert free() >= 62, free()\n"
        "assert 60 <= fill()\n"
    )
    done = quark("run", "--memory", "128M", "--", PYTHON, "-c", code)
    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize(("option", "wanted"), [("10M", 10), ("300M", 300)])
def test_the_disk_has_the_size_asked_for(quark, option, wanted):
    code = FULL + "print(LIMIT, fill() if LIMIT < 64 else LIMIT)"
    done = quark("run", "--memory", "512M", "--disk", option, "--", PYTHON, "-c", code)
    limit, filled = done.out.split()
    assert int(limit) == wanted, done.err
    assert wanted - 2 <= int(filled) <= wanted


def test_memory_of_a_memfd_is_no_disk(quark):
    code = "import os; f = os.memfd_create('m'); [os.write(f, b'1' * (1 << 20)) for _ in range(20)]; print(os.fstat(f).st_size >> 20)"
    assert quark("run", "--memory", "256M", "--disk", "10M", "--", PYTHON, "-c", code).out == "20\n"


def test_bad_sizes(quark):
    for text in ("0", "ten", "33G", "-1M", "5T"):
        done = quark("run", f"--disk={text}", "--", "/bin/true")
        assert done.status == 64
        assert done.err.startswith("quark: disk size ")
    done = quark("run", "--memory=99T", "--", "/bin/true")
    assert (done.status, done.err) == (64, "quark: memory size 99T is out of range: a sandbox has 64M to 32G\n")
    done = quark("run", "--memory=128M", "--disk=1G", "--", "/bin/true")
    wanted = "quark: disk size 1024M is more than the memory, 128M, which has the files: give --memory as well\n"
    assert (done.status, done.err) == (64, wanted)


MAKERS = {
    "files": "open(f'/tmp/d/{n}', 'x').close()",
    "links": "os.link('/tmp/d/0', f'/tmp/d/l{n}') if n else open('/tmp/d/0', 'x').close()",
    "symlinks": "os.symlink('x' * 4000, f'/tmp/d/{n}')",
    "directories": "os.mkdir(f'/tmp/d/{n}')",
    "nodes": "os.mkfifo(f'/tmp/d/{n}')",
    "attributes": "open(f'/tmp/d/{n}', 'x').close(); os.setxattr(f'/tmp/d/{n}', 'user.x', b'1' * 60000)",
}


@pytest.mark.parametrize("what", MAKERS)
def test_names_and_attributes_count_as_disk(quark, what):
    code = (
        "import errno, os, shutil, subprocess\n"
        "os.mkdir('/tmp/d'); before = os.statvfs('/tmp').f_bavail\n"
        "n = 0\n"
        "try:\n"
        f"  while True:\n    {MAKERS[what]}\n    n += 1\n"
        "except OSError as e: assert e.errno == errno.ENOSPC, e\n"
        "assert subprocess.run(['/bin/true']).returncode == 0 and len(bytearray(8 << 20)) and n > 50\n"
        "assert os.statvfs('/tmp').f_bavail <= 16\n"
        "shutil.rmtree('/tmp/d'); print(before - os.statvfs('/tmp').f_bavail <= 1)\n"
    )
    done = quark("run", "--memory", "128M", "--disk", "8M", "--", PYTHON, "-c", code)
    assert (done.status, done.out, done.err) == (0, "True\n", "")


def test_names_that_come_and_go_take_no_room(quark):
    code = (
        "import os\n"
        "for n in range(40000): name = f'/tmp/{n:0>200}'; open(name, 'x').close(); os.unlink(name)\n"
        "print(len(os.listdir('/tmp')) == len(set(os.listdir('/tmp'))), os.statvfs('/tmp').f_bavail > 200)\n"
    )
    done = quark("run", "--memory", "128M", "--disk", "1M", "--", PYTHON, "-c", code)
    assert (done.status, done.out, done.err) == (0, "True True\n", "")


def test_a_clone_has_its_own_disk(quark):
    made = quark("snapshot", "create", "s", "--ready-after", "0.5", "--memory", "128M", "--", PYTHON, "-c", FULL + "import time; time.sleep(1); LIMIT = os.statvfs('/tmp').f_blocks >> 8; print(LIMIT, fill())")  # fmt: skip
    assert made.status == 0, made.err
    assert quark("run", "--from-snapshot", "s").out.split()[0] == "64"
    limit, filled = quark("run", "--from-snapshot", "s", "--disk", "8M").out.split()
    assert int(limit) == 8
    assert int(filled) <= 8
