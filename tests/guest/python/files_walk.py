"""Files: open modes, tempfile, os.walk, scandir, shutil, glob, pathlib, mmap, fcntl, links, permissions, large files."""

import fcntl
import filecmp
import glob
import mmap
import os
import pathlib
import shutil
import stat
import tempfile

base = pathlib.Path("tree")
for top in "abc":
    for sub in range(5):
        directory = base / top / str(sub)
        directory.mkdir(parents=True)
        for n in range(6):
            (directory / f"file{n}.txt").write_text(f"{top}{sub}{n}\n" * n)
(base / "link").symlink_to("a")
files = sum(len(names) for _, _, names in os.walk(base))
followed = sum(len(names) for _, _, names in os.walk(base, followlinks=True))
print("walk", files, followed)
print("glob", len(glob.glob("tree/*/*/file3.txt")), len(list(base.rglob("*.txt"))))
print("scandir", sorted((entry.name, entry.is_dir(), entry.is_symlink()) for entry in os.scandir(base)))
shutil.copytree(base, "copy", symlinks=True)
print("copytree", filecmp.dircmp(base, "copy").diff_files, os.readlink("copy/link"))
shutil.move("copy/a", "moved")
print("move", sorted(os.listdir("copy")), len(os.listdir("moved")))
shutil.rmtree("copy")
print("rmtree", os.path.exists("copy"))

with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "x")
    pathlib.Path(path).write_bytes(b"x" * 10)
    print("temporary directory", os.path.getsize(path))
print("removed", os.path.exists(directory))
with (
    tempfile.NamedTemporaryFile() as named,
    tempfile.TemporaryFile() as anonymous,
    tempfile.SpooledTemporaryFile(100) as spooled,
):
    for file in (named, anonymous, spooled):
        file.write(b"0123456789" * 50)
        file.seek(495)
        print("temporary", file.read())

path = pathlib.Path("data")
path.write_bytes(bytes(range(256)) * 400)
with path.open("r+b") as file:
    with mmap.mmap(file.fileno(), 0) as mapped:
        print("mmap", len(mapped), mapped[1000:1004], mapped.find(b"\xff\x00"))
        mapped[0:4] = b"MMAP"
        mapped.flush()
        mapped.resize(200000)
    print("mmap resized", os.fstat(file.fileno()).st_size)
print("mmap wrote", path.read_bytes()[:6])
with path.open("rb") as one, path.open("rb") as two:
    fcntl.flock(one, fcntl.LOCK_EX)
    try:
        fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        print("flock", type(error).__name__)

path.chmod(0o640)
print("mode", stat.filemode(path.stat().st_mode))
os.utime(path, ns=(10**18, 2 * 10**18))
print("utime", path.stat().st_atime_ns, path.stat().st_mtime_ns)
os.link(path, "hard")
os.replace("hard", "replaced")
print("links", path.stat().st_nlink, path.samefile("replaced"))
os.truncate(path, 5_000_000_000)
with path.open("rb") as file:
    file.seek(-3, os.SEEK_END)
    print("sparse", file.read(), file.tell())
text = "".join(f"{n} äöü 漢字\r\n" for n in range(3000))
with open("text", "w", encoding="utf-8", newline="") as file:
    file.write(text)
with open("text", encoding="utf-8") as file:
    print("universal newlines", sum(len(line) for line in file))
for wrong in ("absent", "tree", "data/x"):
    try:
        os.close(os.open(wrong, os.O_RDWR))
    except OSError as error:
        print("error", type(error).__name__, error.errno, error.strerror)
print("cwd", os.path.basename(os.getcwd()) != "", os.path.realpath("tree/link/0").endswith("tree/a/0"))
print("sendfile", os.sendfile(os.open("out", os.O_CREAT | os.O_WRONLY), os.open("text", os.O_RDONLY), 0, 1000))
