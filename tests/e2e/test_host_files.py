"""Files of the host that others change while a sandbox lives, or between a capture and its clones: never wrong content without an error."""

import fcntl
import json
import sqlite3
import subprocess
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3.11"
NAMES = ("read", "shrunk", "grown", "deleted", "replaced", "stated", "unread")

# Looks at files, says so, and looks again when it is told to; the host changes them in between.
LOOK = """
import json, os, sys
D = sys.argv[1]
for f in ('read', 'shrunk', 'grown', 'deleted', 'replaced'): open(D + f).read()
os.stat(D + 'stated'); os.listdir(D); os.path.exists(D + 'new')
print('ready', flush=True)
sys.stdin.readline()
seen = {}
for f in ('read', 'shrunk', 'grown', 'deleted', 'replaced', 'stated', 'unread', 'new'):
    try: seen[f] = [os.stat(D + f).st_size, open(D + f).read()]
    except OSError as e: seen[f] = e.errno
print(json.dumps([seen, sorted(os.listdir(D))]))
"""


def write_all(directory: Path) -> None:
    for name in NAMES:
        (directory / name).write_text(f"content of {name}, rather long before it is changed\n")


def change_all(directory: Path) -> None:
    (directory / "read").write_text("changed in place to other content, of other length\n")
    (directory / "shrunk").write_text("s\n")
    (directory / "grown").write_text("grown " * 30)
    (directory / "deleted").unlink()
    (directory / "r.tmp").write_text("replaced by another\n")
    (directory / "r.tmp").rename(directory / "replaced")
    (directory / "stated").write_text("st\n")
    (directory / "unread").write_text("unr\n")
    (directory / "new").write_text("new\n")


def look(process, directory: Path):
    assert process.stdout.readline() == b"ready\n", process.stderr.read()
    change_all(directory)
    out, err = process.communicate(b"\n", timeout=60)
    assert (process.returncode, err) == (0, b"")
    return json.loads(out)


@pytest.mark.parametrize("volume", [False, True], ids=["rootfs", "volume"])
def test_a_living_sandbox_sees_files_as_they_are(quark, tmp_path, volume):
    directory = tmp_path / "files"
    directory.mkdir()
    write_all(directory)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    native = look(subprocess.Popen([PYTHON, "-c", LOOK, f"{directory}/"], **pipes), directory)
    for path in directory.iterdir():
        path.unlink()
    write_all(directory)
    options = ["-v", f"{directory}:/data"] if volume else []
    guest = quark.start("run", *options, "--", PYTHON, "-c", LOOK, "/data/" if volume else f"{directory}/")
    assert look(guest, directory) == native


WARM = """
import os, sys
f, how = sys.argv[1:]
if how == 'stat': os.stat(f)
elif how == 'list': os.listdir(os.path.dirname(f))
elif how == 'scandir': [e.stat() for e in os.scandir(os.path.dirname(f))]
elif how == 'open': os.close(os.open(f, os.O_RDONLY))
elif how == 'read': open(f).read()
q = os.open('/dev/quark', os.O_RDWR); os.write(q, b'ready\\n')
try: print(os.stat(f).st_size, open(f).read())
except OSError as e: print(e.errno)
"""


@pytest.mark.parametrize("how", ["stat", "list", "scandir", "open", "read"])
def test_a_clone_sees_closed_files_as_they_are(quark, tmp_path, how):
    directory = tmp_path / "files"
    directory.mkdir()
    file = directory / "f"
    file.write_text("version one\n")
    for name, options, path in (("root", [], file), ("volume", ["-v", f"{directory}:/data"], "/data/f")):
        file.write_text("version one\n")
        made = quark("snapshot", "create", name, "--ready-file", *options, "--", PYTHON, "-c", WARM, str(path), how)
        assert made.status == 0, made.err
        text = "version two is a good deal longer"
        file.write_text(text)
        assert quark("run", "--from-snapshot", name).out == f"{len(text)} {text}\n"
        file.unlink()
        assert quark("run", "--from-snapshot", name).out == "2\n"


def test_a_file_changed_under_a_mapping_is_an_error_that_names_it(quark, tmp_path):
    file = tmp_path / "mapped"
    file.write_bytes(b"old!" * 512 * 1024)
    code = f"""
import mmap, os, sys
m = mmap.mmap(os.open({str(file)!r}, os.O_RDONLY), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
print(m[:4], flush=True)
sys.stdin.readline()
print(m[:4], flush=True)
print(m[-4:], flush=True)
"""
    guest = quark.start("run", "--", PYTHON, "-c", code)
    assert guest.stdout.readline() == b"b'old!'\n"
    file.write_bytes(b"new content " * 1024)
    out, err = guest.communicate(b"\n", timeout=60)
    assert (out, guest.returncode) == (b"b'old!'\n", 128 + 7), "what was there stays, what was not is no zeros: SIGBUS"
    lines = [line for line in err.splitlines() if b"changed on the host" in line]
    assert len(lines) == 1, err
    assert str(file).encode() in lines[0]


def test_an_open_file_of_a_volume_goes_on_in_a_clone(quark, tmp_path):
    (tmp_path / "log").write_text("")
    code = """
import os
l = open('/data/log', 'a'); l.write('start\\n'); l.flush()
q = os.open('/dev/quark', os.O_RDWR); os.write(q, b'ready\\n')
l.write('clone\\n'); l.flush(); print(open('/data/log').read(), end='')
"""
    made = quark("snapshot", "create", "s", "--ready-file", "-v", f"{tmp_path}:/data", "--", PYTHON, "-c", code)
    assert made.status == 0, made.err
    with open(tmp_path / "log", "a") as log:
        log.write("host\n")
    assert quark("run", "--from-snapshot", "s").out == "start\nhost\nclone\n"


INSERT = """
import sqlite3, sys
path, mode, who = sys.argv[1:]
c = sqlite3.connect(path, timeout=60, isolation_level=None)
c.execute('pragma journal_mode=' + mode)
c.execute('create table if not exists t(k integer primary key, who text, v blob)')
for i in range(60):
    c.execute('begin immediate')
    c.execute('insert into t(who, v) values(?, randomblob(2000))', (who,))
    c.execute('commit')
"""


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_sqlite_in_two_sandboxes_and_on_the_host(quark, tmp_path, mode):
    argv = [PYTHON, "-c", INSERT]
    volume = tmp_path / "volume"
    volume.mkdir()
    guests = [quark.start("run", "-v", f"{volume}:/data", "--", *argv, "/data/db", mode, who) for who in "ab"]
    host = subprocess.Popen([*argv, str(volume / "db"), mode, "c"])
    for process in guests:
        assert process.communicate(timeout=120) == (b"", b"")
        assert process.returncode == 0
    assert host.wait(120) == 0
    with sqlite3.connect(volume / "db") as db:
        assert db.execute("select who, count(*) from t group by who order by who").fetchall() == [
            (who, 60) for who in "abc"
        ]
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)


def test_locks_reach_the_host_and_end_with_the_sandbox(quark, tmp_path):
    (tmp_path / "f").write_text("x" * 100)
    code = """
import fcntl, sys
f, g = open('/data/f', 'r+'), open('/data/f', 'r+')
fcntl.lockf(f, fcntl.LOCK_EX, 10, 20)
fcntl.flock(g, fcntl.LOCK_SH)
print('locked', flush=True)
sys.stdin.readline()
"""
    guest = quark.start("run", "-v", f"{tmp_path}:/data", "--", PYTHON, "-c", code)
    assert guest.stdout.readline() == b"locked\n", guest.stderr.read()
    probe = """
import fcntl, sys
f = open(sys.argv[1], 'r+')
def can(take):
    try: take(); return True
    except BlockingIOError: return False
print(can(lambda: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 25)), can(lambda: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 40)),
      can(lambda: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)), can(lambda: fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)))
"""

    def ask() -> str:
        return subprocess.run(
            [PYTHON, "-c", probe, str(tmp_path / "f")], check=True, capture_output=True, text=True
        ).stdout

    assert ask() == "False True False True\n"
    guest.communicate(b"\n", timeout=60)
    assert ask() == "True True True True\n"


SHARED = """
import mmap, os, sys
fd = os.open('/data/f', os.O_RDWR)
m = mmap.mmap(fd, 0)
m[:5] = b'guest'
m[3 << 20:(3 << 20) + 4] = b'tail'
assert (os.pread(fd, 5, 0), os.pread(fd, 4, 3 << 20)) == (b'guest', b'tail')
os.pwrite(fd, b'written', 10)
assert m[10:17] == b'written'
if os.fork() == 0:
    m[200:205] = b'child'
    os._exit(0)
os.wait()
reader = mmap.mmap(os.open('/data/f', os.O_RDONLY), 0, prot=mmap.PROT_READ)
assert reader[200:205] == b'child'
"""


def test_shared_mappings_are_shared_with_the_host(quark, tmp_path):
    file = tmp_path / "f"
    file.write_bytes(bytes((3 << 20) + 5000))
    code = (
        SHARED + "\nprint('mapped', flush=True); sys.stdin.readline(); print(m[100:104], reader[100:104], flush=True)"
    )
    guest = quark.start("run", "-v", f"{tmp_path}:/data", "--", PYTHON, "-c", code)
    assert guest.stdout.readline() == b"mapped\n", guest.stderr.read()
    with file.open("r+b") as f:
        assert (f.read(5), f.read(12)[5:], f.read(188)[183:]) == (b"guest", b"written", b"child")
        f.seek(100)
        f.write(b"host")
    assert guest.communicate(b"\n", timeout=60) == (b"b'host' b'host'\n", b"")


def test_a_mapped_file_that_is_cut_is_a_bus_error(quark, tmp_path):
    file = tmp_path / "f"
    file.write_bytes(bytes(1 << 20))
    code = """
import mmap
f = open('/data/f', 'r+b')
m = mmap.mmap(f.fileno(), 0)
m[500_000] = 7
print('mapped', flush=True)
while m[500_000] == 7: pass
print('zeros')
"""
    guest = quark.start("run", "-v", f"{tmp_path}:/data", "--", PYTHON, "-c", code)
    assert guest.stdout.readline() == b"mapped\n", guest.stderr.read()
    with file.open("r+b") as f:
        f.truncate(8192)
    assert guest.communicate(timeout=60) == (b"", b"")
    assert guest.returncode == 128 + 7


def test_a_shared_mapping_goes_on_in_a_clone(quark, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    file = volume / "f"
    file.write_bytes(bytes((3 << 20) + 5000))
    code = (
        SHARED
        + """
q = os.open('/dev/quark', os.O_RDWR); os.write(q, b'ready\\n')
print(m[:5], m[3 << 20:(3 << 20) + 4], flush=True)
m[50:55] = b'clone'
"""
    )
    made = quark("snapshot", "create", "s", "--ready-file", "-v", f"{volume}:/data", "--", PYTHON, "-c", code)
    assert made.status == 0, made.err
    with file.open("r+b") as f:
        f.write(b"other")
    done = quark("run", "--from-snapshot", "s")
    assert (done.out, done.err) == ("b'other' b'tail'\n", "")
    assert file.read_bytes()[50:55] == b"clone"


def test_a_clone_holds_its_locks_or_says_that_it_lost_them(quark, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "f").write_text("x" * 100)
    code = """
import fcntl, os, subprocess, sys
f = open('/data/f', 'r+')
fcntl.lockf(f, fcntl.LOCK_EX, 10, 20)
q = os.open('/dev/quark', os.O_RDWR); os.write(q, b'ready\\n')
print('up', flush=True)
sys.stdin.readline()
"""
    made = quark("snapshot", "create", "s", "--ready-file", "-v", f"{volume}:/data", "--", PYTHON, "-c", code)
    assert made.status == 0, made.err
    guest = quark.start("run", "--from-snapshot", "s")
    assert guest.stdout.readline() == b"up\n", guest.stderr.read()
    with open(volume / "f", "r+") as f:
        with pytest.raises(BlockingIOError):
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 28)
        assert guest.communicate(b"\n", timeout=60) == (b"", b"")
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 28)
        done = quark("run", "--from-snapshot", "s")
    assert done.out == "up\n"
    assert "has lost its lock" in done.err


NODES = """
import os, socket, stat, threading
os.chdir('/data')
server = socket.socket(socket.AF_UNIX)
server.bind('socket')
os.chmod('socket', 0o600)
server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect('/data/socket')
client.send(b'through the socket')
print(server.accept()[0].recv(99), oct(os.stat('socket').st_mode))
os.mkfifo('fifo', 0o640)
reader = threading.Thread(target=lambda: print(open('fifo').read()))
reader.start()
with open('fifo', 'w') as f: f.write('through the fifo')
reader.join()
fd = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o644)
os.write(fd, b'no name yet')
print(os.fstat(fd).st_size, os.fstat(fd).st_nlink)
os.link(f'/proc/self/fd/{fd}', 'named', src_dir_fd=0, follow_symlinks=True)
os.fchmod(fd, 0o600)
print(open('named').read(), oct(os.stat('named').st_mode), sorted(os.listdir()))
f = open('gone', 'w+')
os.unlink('gone')
f.write('still there'); f.flush(); os.fchmod(f.fileno(), 0o600); f.seek(0)
print(f.read(), oct(os.fstat(f.fileno()).st_mode), os.fstat(f.fileno()).st_nlink)
try: os.mknod('device', stat.S_IFCHR | 0o600, os.makedev(1, 3)); print('a device')
except PermissionError: print('no device')
"""


def test_nodes_and_nameless_files_of_a_volume(quark, tmp_path):
    done = quark("run", "-v", f"{tmp_path}:/data", "--", PYTHON, "-c", NODES)
    assert done.err == ""
    assert done.out.splitlines() == [
        "b'through the socket' 0o140600",
        "through the fifo",
        "11 0",
        "no name yet 0o100600 ['fifo', 'named', 'socket']",
        "still there 0o100600 0",
        "no device",
    ]
    assert (tmp_path / "socket").is_socket()
    assert (tmp_path / "fifo").is_fifo()
    assert (tmp_path / "named").read_text() == "no name yet"


def test_many_open_files(quark, tmp_path):
    count = 3000
    for i in range(count):
        (tmp_path / str(i)).write_text(str(i))
    code = f"""
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({count} + 50,) * 2)
files = [os.open('/data/%d' % i, os.O_RDWR) for i in range({count})]
print(sum(os.read(f, 9) == str(i).encode() for i, f in enumerate(files)))
"""
    done = quark("run", "-v", f"{tmp_path}:/data", "--", PYTHON, "-c", code)
    assert (done.out, done.err) == (f"{count}\n", "")
