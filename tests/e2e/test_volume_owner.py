"""Whose files a guest makes in read-write volumes, and which it may not change: `--volume-user`, `--allow-set-id`."""

import os
import stat

import pytest

NOBODY, GROUP = 65534, 54321
PYTHON = "/usr/bin/python3.11"
MAKE = """
import os, socket
os.chdir('/v')
os.umask(0)
open('file', 'w').close()
os.mkdir('folder')
os.mkfifo('fifo')
os.symlink('file', 'link')
socket.socket(socket.AF_UNIX).bind('socket')
fd = os.open('.', os.O_TMPFILE | os.O_RDWR)
os.link(f'/proc/self/fd/{fd}', 'unnamed', dst_dir_fd=os.open('.', os.O_RDONLY))  # linkat, which follows
"""
# What a guest tries on what is not its user's: each says how it fails.
TRY = """
import os
os.chdir('/v')
def attempt(what, *args):
    try:
        what(*args)
        print('done')
    except OSError as e:
        print(e.strerror)
attempt(open, 'theirs', 'a')
attempt(os.truncate, 'theirs', 0)
attempt(os.chmod, 'theirs', 0o666)
attempt(os.chown, 'theirs', 0, 0)
attempt(os.utime, 'theirs', (1, 1))
attempt(os.unlink, 'sticky/theirs')
attempt(os.rename, 'theirs', 'sticky/theirs')
attempt(open, 'secret')
attempt(os.mknod, 'device', 0o020666, os.makedev(1, 3))
"""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may choose a user")


@pytest.fixture(params=[False, True], ids=["alone", "daemon"])
def run(request, quark, make_daemon, tmp_path):
    """Runs Python code with a volume that everybody may write to."""
    if request.param:
        make_daemon()
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)

    def call(code, *options):
        done = quark("run", *options, "-v", f"{volume}:/v", "--", PYTHON, "-c", code)
        assert (done.status, done.err) == (0, ""), done
        return done.out

    call.volume = volume
    return call


def owners(volume):
    found = {(st.st_uid, st.st_gid) for st in map(os.lstat, volume.iterdir())}
    assert len(list(volume.iterdir())) == 6
    return found


def test_by_itself_they_are_those_of_who_runs_it(run):
    run(MAKE)
    assert owners(run.volume) == {(os.geteuid(), os.getegid())}


@root_only
@pytest.mark.parametrize("user", [f"{NOBODY}:{GROUP}", "nobody"])
def test_another_user(run, user):
    run(MAKE, "--volume-user", user)
    assert owners(run.volume) == {(NOBODY, GROUP if ":" in user else NOBODY)}


@root_only
def test_no_more_rights_than_that_user_has(run):
    for name, mode in (("theirs", 0o644), ("secret", 0o600)):
        (run.volume / name).write_text("content")
        (run.volume / name).chmod(mode)
    (run.volume / "sticky").mkdir()
    (run.volume / "sticky").chmod(0o1777)
    (run.volume / "sticky" / "theirs").write_text("content")
    run.volume.chmod(0o1777)
    said = run(TRY, "--volume-user", str(NOBODY)).split("\n")[:-1]
    assert len(said) == 9
    assert set(said) <= {"Permission denied", "Operation not permitted"}, said
    assert sorted(p.name for p in run.volume.rglob("*")) == ["secret", "sticky", "theirs", "theirs"]
    assert {p.read_text() for p in run.volume.rglob("*") if p.is_file()} == {"content"}


@pytest.mark.parametrize("allowed", [False, True])
def test_set_id_bits(run, allowed):
    code = (
        "import os; os.chdir('/v'); os.umask(0); open('a', 'w').close(); os.chmod('a', 0o6755); "
        "os.close(os.open('b', os.O_CREAT | os.O_WRONLY, 0o4755)); os.mkfifo('c', 0o4644); os.mkdir('d'); os.chmod('d', 0o2755)"
    )
    run(code, *(["--allow-set-id"] if allowed else []))
    bits = {p.name: stat.S_IMODE(p.lstat().st_mode) & 0o6000 for p in run.volume.iterdir()}
    assert bits == ({"a": 0o6000, "b": 0o4000, "c": 0o4000, "d": 0o2000} if allowed else dict.fromkeys("abcd", 0))


@root_only
def test_a_clone_is_written_as_its_own_user(quark, tmp_path):
    """Whose they are is no part of a snapshot."""
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    script = "echo ready >/dev/quark; echo x >/v/$$ && echo x >/v/new"
    options = ("--volume-user", str(NOBODY), "-v", f"{volume}:/v")
    done = quark("snapshot", "create", "s", "--ready-file", *options, "--", "/bin/sh", "-c", script)
    assert done.status == 0, done
    for user, expected in ((("--volume-user", "4711:12"), (4711, 12)), ((), (0, 0))):
        assert quark("run", "--from-snapshot", "s", *user).status == 0
        st = (volume / "new").stat()
        assert (st.st_uid, st.st_gid) == expected
        for file in volume.iterdir():
            file.unlink()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--volume-user", "nosuchuser"), "no such user"),
        (("--volume-user", "1:x:y"), "no such user"),
        (("--volume-user", "root", "--any-owner"), "does not go with"),
    ],
)
def test_what_cannot_be_chosen(quark, tmp_path, options, said):
    done = quark("run", *options, "-v", f"{tmp_path}:/v", "--", "/bin/true")
    assert (done.status, done.err.count("\n")) == (2, 1), done
    assert said in done.err
