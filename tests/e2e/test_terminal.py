"""Interactive programs on a real terminal: keys, signals and job control arrive as on Linux, with and without a daemon, attached and in a clone."""

import os
import signal
import time

import pytest

BOTH_WAYS = True
BASH = ["/bin/bash", "--norc", "--noprofile", "-i"]
PYTHON = "/usr/bin/python3.11"


def prompt(t):
    t.until(b"# ")


@pytest.fixture
def bash(quark, terminal):
    t = terminal(quark.command("run", "--env", "PS1=# ", "--", *BASH))
    prompt(t)
    return t


def test_bash(bash):
    bash.write(b"echo $((40+2)); tty\n")
    bash.until(b"42\r\n/dev/console\r\n")
    bash.write(b"stty size; exit 5\n")
    assert bash.end()[0] == 5


def test_job_control_inside(bash):
    bash.write(b"sleep 100\n")
    bash.until(b"sleep 100")
    time.sleep(0.5)
    bash.write(b"\x1a")
    bash.until(b"Stopped")
    prompt(bash)
    bash.write(b"bg\n")
    bash.until(b"sleep 100 &")
    prompt(bash)
    bash.write(b"fg\n")
    bash.until(b"sleep 100")
    time.sleep(0.5)
    bash.write(b"\x03")
    prompt(bash)
    bash.write(b"echo status $?\n")
    bash.until(b"status 130")
    bash.write(b"cat &\n")  # a job that reads in the background stops
    prompt(bash)
    time.sleep(0.5)
    bash.write(b"\n")  # the shell tells of jobs before a prompt
    bash.until(b"Stopped")
    bash.write(b"kill -9 %1; sleep 1; wait; exit 6\n")
    assert bash.end()[0] == 6


@pytest.mark.parametrize(
    ("script", "key", "status"),
    [
        ("echo up; sleep 100; echo after", b"\x03", 130),
        ("echo up; while :; do sleep 3; done", b"\x03", 130),
        ("echo up; cat | cat; echo done", b"\x03", 130),
        ("echo up; sleep 100", b"\x1c", 131),
    ],
)
def test_the_keys_reach_all_of_the_group(quark, terminal, script, key, status):
    t = terminal(quark.command("run", "--", "/bin/bash", "-c", script))
    t.until(b"up\r\n")
    time.sleep(0.5)
    t.write(key)
    assert t.end()[0] == status


def test_python(quark, terminal):
    t = terminal(quark.command("run", "--", PYTHON, "-q"))
    t.until(b">>> ")
    t.write(b"6 * 7\n")
    t.until(b"42\r\n>>> ")
    t.write(b"\x04")
    assert t.end()[0] == 0


def test_top(quark, terminal):
    t = terminal(quark.command("run", "--", "/usr/bin/top"))
    t.until(b"COMMAND")
    t.write(b"q")
    assert t.end()[0] == 0


def test_vim(quark, terminal):
    t = terminal(quark.command("run", "--", "/bin/sh", "-c", "cd $(mktemp -d); vim -N -u NONE text; cat text"))
    t.until(b"[New")
    t.write(b"iwritten in vim\x1b:wq\r")
    t.until(b"written in vim\r\n", 30)
    assert t.end()[0] == 0


def test_tmux(quark, terminal):
    t = terminal(
        quark.command(
            "run", "--env", "SHELL=/bin/sh", "--", "/usr/bin/tmux", "-f", "/dev/null", "new-session", "/bin/sh"
        )
    )
    t.until(b"# ")
    t.write(b"echo in $((1+1)) tmux\n")
    t.until(b"in 2 tmux")
    t.write(b"exit\n")
    t.until(b"[exited]")
    assert t.end()[0] == 0


EXPECT = """spawn bash --norc --noprofile; expect "# "; send "echo a\\$((1+1))b\\n"; expect "a2b"; send "exit 3\\n"; expect eof
puts "status [lindex [wait] 3]" """


def test_expect_and_script(quark):
    done = quark("run", "--", "/usr/bin/expect", "-c", EXPECT)
    assert done.status == 0
    assert "status 3" in done.out
    done = quark("run", "--", "/usr/bin/script", "-qec", "tty; exit 4", "/dev/null")
    assert (done.status, done.out) == (4, "/dev/pts/0\r\n")


def test_screen(quark, terminal):
    """Not as process 1, which it does not signal."""
    command = "screen /bin/sh; exit 5"
    t = terminal(quark.command("run", "--env", "SCREENDIR=/tmp/screens", "--", "/bin/sh", "-c", command))
    t.until(b"# ")
    t.write(b"echo in $((1+1)) screen\n")
    t.until(b"in 2 screen")
    t.write(b"exit\n")
    t.until(b"[screen is terminating]")
    assert t.end()[0] == 5


def test_terminal_is_as_it_was(quark, terminal):
    """However it ends: the program has made it raw."""
    script = "import tty, time; tty.setraw(0); print('raw'); time.sleep(100)"
    for number in (signal.SIGTERM, signal.SIGHUP):
        t = terminal(quark.command("run", "--", PYTHON, "-uc", script))
        before = t.mode()
        t.until(b"raw")
        assert t.mode() != before
        os.kill(t.pid, number)
        t.end()
        assert t.mode() == before


@pytest.mark.alone
def test_clone_goes_on_at_its_terminal(quark, terminal):
    """The mode that the program had set, keys at once, and a new window size."""
    script = (
        "import os, signal, tty; tty.setcbreak(0); signal.signal(signal.SIGWINCH, lambda *_: print('size', os.get_terminal_size(0)))\n"
        "q = os.open('/dev/quark', os.O_RDWR); os.write(q, b'ready\\n'); print('on', flush=True)\n"
        "while (key := os.read(0, 1)) != b'q': print('key', key, flush=True)"
    )
    t = terminal(quark.command("snapshot", "create", "t", "--ready-file", "--", PYTHON, "-uc", script))
    assert t.end()[0] == 0, t.text
    t = terminal(quark.command("run", "--from-snapshot", "t"))
    t.until(b"on")
    t.write(b"x")
    t.until(b"key b'x'")
    t.write(b"q")
    assert t.end()[0] == 0
