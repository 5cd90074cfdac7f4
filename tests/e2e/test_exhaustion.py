"""A program that takes all it can get of one kind of kernel object in a small sandbox: it is refused or killed, and the guest kernel and QVisor go on."""

import subprocess
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3.11"
PROGRAM = Path(__file__).with_name("exhaust.py")
KINDS = (
    *("semaphores", "messages", "empty_messages", "segments", "inotify", "watches", "epolls", "epoll_entries", "pipes", "streams", "datagrams"),
    *("descriptors_in_flight", "connections", "names", "terminals", "timers", "timerfds", "eventfds", "memfds", "pidfds", "signals"),
    *("attributes", "areas", "children", "handler_stacks"),
)  # fmt: skip
REFUSALS = {"ENOMEM", "ENOSPC", "EAGAIN", "EMFILE", "ENFILE", "ENOBUFS"}
# The program runs beside a shell, which has to be able to go on.
SHELL = f'{PYTHON} {PROGRAM} "$0"; echo "ended with $?"; /bin/echo alive'


@pytest.mark.parametrize("kind", KINDS)
def test_taking_all_of_one_kind(quark, kind):
    done = quark("run", "--memory", "128M", "--", "/bin/sh", "-c", SHELL, kind)
    *refusal, status, alive = done.out.splitlines()
    assert (done.status, alive) == (0, "alive"), done.err
    assert status in {"ended with 0", "ended with 137"}, done.err
    assert status != "ended with 0" or set(refusal) <= REFUSALS
    assert status == "ended with 0" or "was killed" in done.err


@pytest.fixture(scope="module")
def many_files(tmp_path_factory):
    """More files than a sandbox with the least memory can know all at once."""
    top = tmp_path_factory.mktemp("many")
    for folder in range(60):
        (top / str(folder)).mkdir()
        for name in range(1000):
            (top / str(folder) / f"{name}").touch()
    return top


@pytest.mark.parametrize("where", ["rootfs", "volume"])
def test_more_names_than_memory_holds(quark, many_files, where):
    code = (
        "cd $0; test 60000 = $(find . -type f -size 0 | wc -l) && exec 3<7/7 && mkdir -p /tmp/a/b && touch /tmp/a/b/c && cd 5\n"
        "test 60000 = $(find .. -type f -size 0 | wc -l) && test -e /tmp/a/b/c -a -e 999 -a ! -e 1000 && cd .. && ls | wc -l"
    )
    volume = ["-v", f"{many_files}:/v:ro"] if where == "volume" else []
    done = quark("run", "--memory", "64M", *volume, "--", "/bin/sh", "-c", code, "/v" if volume else str(many_files))
    assert (done.status, done.out, done.err) == (0, "60\n", "")
    native = subprocess.run(["/bin/sh", "-c", code, str(many_files)], capture_output=True, text=True, check=False)
    assert (native.returncode, native.stdout) == (0, "60\n")
