"""`quark run`: programs in sandboxes, as a user sees them."""

import os
import pty
import shutil
import signal
import sys
import time

import pytest

PYTHON = "/usr/bin/python3.11"
BOTH_WAYS = True


def python(quark, code, *options, **more):
    return quark("run", *options, "--", PYTHON, "-c", code, **more)


def test_hello(quark):
    done = quark("run", "--", "/bin/echo", "hello")
    assert (done.status, done.out, done.err) == (0, "hello\n", "")
    assert quark.daemon or not quark.root.exists(), "a plain run keeps no state"


def test_python_with_its_libraries(quark):
    done = python(quark, "import json, ssl, sqlite3, asyncio; print(sum(range(10)))", "--memory", "512M")
    assert (done.status, done.out) == (0, "45\n"), done.err


def test_asyncio_runs(quark):
    code = "import asyncio\nasync def main():\n    await asyncio.sleep(0.01)\n    print('slept')\nasyncio.run(main())"
    assert python(quark, code).out == "slept\n"


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_exit_status(quark, status):
    assert python(quark, f"raise SystemExit({status})").status == status


def test_death_by_signal(quark):
    assert python(quark, "import os; os.kill(os.getpid(), 15)").status == 128 + 15


def test_streams(quark):
    code = "import sys; data = sys.stdin.read(); print(len(data)); print(data[:5], file=sys.stderr)"
    done = python(quark, code, stdin=b"abcdefghij" * 100_000)
    assert (done.out, done.err) == ("1000000\n", "abcde\n")


def test_large_output(quark):
    done = python(quark, "import sys; sys.stdout.write('x' * 3_000_000)")
    assert len(done.out) == 3_000_000


def test_environment_and_directory(quark):
    done = python(quark, "import os; print(os.environ['K'], os.getcwd())", "--env", "K=a=b", "--cwd", "/tmp")
    assert done.out == "a=b /tmp\n"


def test_volumes(quark, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "in").write_text("from the host")
    code = "print(open('/data/in').read()); open('/data/out', 'w').write('from the guest')"
    done = python(quark, code, "-v", f"{shared}:/data")
    assert (done.status, done.out) == (0, "from the host\n"), done.err
    assert (shared / "out").read_text() == "from the guest"
    done = python(quark, "open('/data/no', 'w')", "-v", f"{shared}:/data:ro")
    assert done.status == 1
    assert "Read-only file system" in done.err
    assert not (shared / "no").exists()


def test_the_host_is_not_changed(quark, tmp_path):
    file = tmp_path / "file"
    file.write_text("before")
    code = f"open({str(file)!r}, 'w').write('after'); print(open({str(file)!r}).read())"
    assert python(quark, code).out == "after\n"
    assert file.read_text() == "before"


def test_rootfs(quark, tmp_path):
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    for name in ("true", "cat"):
        shutil.copy(f"/bin/{name}", root / "bin" / name)
    for library in ("/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"):
        target = root / library[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    (root / "only-here").write_text("inside\n")
    done = quark("run", "--rootfs", str(root), "--", "/bin/cat", "/only-here")
    assert (done.status, done.out) == (0, "inside\n"), done.err


def test_script(quark, tmp_path):
    script = tmp_path / "script"
    script.write_text(f"#!{PYTHON}\nimport sys\nprint(sys.argv[1:])\n")
    script.chmod(0o755)
    assert quark("run", "--", str(script), "a", "b").out == "['a', 'b']\n"


def test_missing_calls_are_counted(quark):
    done = python(quark, "import ctypes; print(ctypes.CDLL(None).syscall(435 + 10, 0))", "--debug")
    assert done.out == "-1\n"
    assert "system calls that QKernel lacks" in done.err
    assert "445 (1x)" in done.err


def test_debug_summary(quark):
    done = python(quark, "import os\nfor _ in range(321): os.getppid()\nx = bytearray(40 << 20)", "--debug")
    assert done.status == 0, done.err
    table = done.err[done.err.index("system calls by time") :]
    calls = {
        fields[2]: int(fields[0])
        for line in table.splitlines()
        if len(fields := line.split()) == 3 and fields[0].isdigit()
    }
    assert calls["getppid"] == 321
    assert calls["exit_group"] == 1
    peak = next(int(line.split()[4]) for line in done.err.splitlines() if line.startswith("quark: peak guest memory"))
    assert 40 << 10 <= peak <= 160 << 10
    assert "page faults" in done.err
    assert "host requests" in done.err


def test_out_of_memory_ends_the_program_alone(quark):
    done = python(quark, "x = bytearray(1)\nwhile True: x += bytes(1 << 20)", "--memory", "64M")
    assert done.status in {1, 128 + 9}, done.err


HOG_BESIDE_A_READER = """
import mmap, os, signal
def hog():
    pid = os.fork()
    if pid == 0:
        m = mmap.mmap(-1, 1 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)  # NORESERVE
        for at in range(0, 1 << 30, 4096):
            m[at] = 1
        os._exit(0)
    return pid
zeros = os.open("/dev/zero", os.O_RDONLY)
m = mmap.mmap(-1, 16 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
pages = memoryview(m)
for _ in range(3):
    pid = hog()
    done = 0
    while not done:
        for at in range(0, len(m), 4096):
            os.readv(zeros, [pages[at : at + 4096]])
        m.madvise(mmap.MADV_DONTNEED)
        done, status = os.waitpid(pid, os.WNOHANG)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


def test_out_of_memory_in_a_call_is_no_bad_address(quark):
    done = python(quark, HOG_BESIDE_A_READER, "--memory", "96M")
    assert (done.status, done.out) == (0, "-9\n-9\n-9\n"), done.err


HOLES = """
import ctypes, os
fd = os.open("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", os.O_RDWR)
size = os.fstat(fd).st_size
free = lambda: os.statvfs("/").f_bfree * 4096
for at in range(0, size, 4096):
    os.pwrite(fd, b"x", at)
full = free()
def punch(at, n):
    assert ctypes.CDLL(None).fallocate(fd, 3, ctypes.c_long(at), ctypes.c_long(n)) == 0
half = size // 2 + 100
punch(half, size)
print(free() - full > size // 2 - (1 << 20))
print(os.pread(fd, 1 << 24, half) == bytes(size - half), os.pread(fd, 1, half - half % 4096) == b"x")
punch(0, half)
print(os.pread(fd, 1 << 24, 0) == bytes(size), os.fstat(fd).st_size == size)
"""


def test_holes_in_a_changed_rootfs_file_free_memory(quark):
    done = python(quark, HOLES)
    assert done.out == "True\nTrue True\nTrue True\n", done.err


def test_interrupt(quark):
    p = quark.start("run", "--", PYTHON, "-u", "-c", "import time; print('up'); time.sleep(60)")
    assert p.stdout.readline() == b"up\n"
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=10)
    assert p.returncode == 128 + 2, (out, err)
    assert b"KeyboardInterrupt" in err


def test_terminal(quark):
    code = "import os, sys; print(sys.stdin.isatty(), os.get_terminal_size().columns > 0, input())"
    pid, fd = pty.fork()
    if pid == 0:
        command = quark.command("run", "--", PYTHON, "-c", code)
        os.execv(command[0], command)
        sys.exit(99)
    os.write(fd, b"typed\n")
    text, deadline = b"", time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            part = os.read(fd, 1000)
        except OSError:
            break
        if not part:
            break
        text += part
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(fd)
    assert b"True True typed" in text or b"True False typed" in text, text


def test_doctor(quark):
    done = quark("doctor")
    assert done.status == 0, done.out
    assert "QKernel" in done.out
