"""`quark ps`, `top`, `kill`, `pause`, `resume`, `capture`, `attach` and `run --detach`: sandboxes that a daemon runs."""

import json
import signal
import subprocess
import termios
import time

import pytest

PYTHON = "/usr/bin/python3.11"
ECHO = "import sys\nprint('up', flush=True)\nfor line in sys.stdin: print('got', line.strip(), flush=True)\nsys.exit(6)"
READY = "import os; f = os.open('/dev/quark', os.O_RDWR); os.write(f, b'ready\\n')\n"

pytestmark = pytest.mark.usefixtures("daemon")


def detach(quark, code, *options):
    done = quark("run", "--detach", *options, "--json", "--", PYTHON, "-u", "-c", code)
    assert done.status == 0, done.err
    return json.loads(done.out)["id"]


def ps(quark, *options):
    return {s["id"]: s for s in json.loads(quark("ps", *options, "--json").out)}


def one_line(done, status, *words):
    assert done.status == status, done
    assert done.out == ""
    assert done.err.count("\n") == 1, done.err
    for word in words:
        assert word in done.err


def test_from_start_to_end(quark):
    sandbox = detach(quark, ECHO)
    state = ps(quark)[sandbox]
    assert (state["state"], state["exit_status"], state["tty"]) == ("running", None, False)
    assert state["private_bytes"] > 1 << 20
    assert json.loads(quark("pause", sandbox, "--json").out)[0]["state"] == "paused"
    assert ps(quark)[sandbox]["state"] == "paused"
    assert quark("resume", sandbox).status == 0
    assert ps(quark)[sandbox]["state"] == "running"
    head, line = quark("ps").out.splitlines()
    assert head.split() == ["ID", "SNAPSHOT", "STATE", "AGE", "CPU", "PRIVATE", "SHARED", "LIMITS", "ARGS"]
    assert line.split()[:3] == [sandbox, "-", "running"]
    assert json.loads(quark("kill", sandbox, "--json").out)[0]["exit_status"] == 137
    assert ps(quark) == {}
    assert ps(quark, "--all")[sandbox]["state"] == "exited"
    assert "exited 137" in quark("ps", "-a").out
    one_line(quark("pause", sandbox), 79, sandbox)
    one_line(quark("attach", "--json", "nonsense"), 78, "SandboxUnknownError")


def test_runs_show_too(quark):
    done = quark("snapshot", "create", "s", "--ready-file", "--", PYTHON, "-u", "-c", READY + ECHO)
    assert done.status == 0, done.err
    p = quark.start("run", "--from-snapshot", "s", "--", "an argument")
    assert p.stdout.readline() == b"up\n"
    (sandbox,) = ps(quark, "--snapshot", "s").values()
    assert (sandbox["snapshot"], sandbox["argv"]) == ("s", ["an argument"])
    assert ps(quark, "--snapshot", "other") == {}
    one_line(quark("attach", sandbox["id"]), 2, "belong to the command that started it")
    assert quark("kill", sandbox["id"]).status == 0
    p.communicate(timeout=10)
    assert p.returncode == 137


def test_capture(quark):
    sandbox = detach(quark, ECHO)
    done = quark("capture", sandbox, "first", "--json")
    assert json.loads(done.out)["trigger"] == "request"
    one_line(quark("capture", sandbox, "first"), 41, "first")
    assert "snapshot second: " in quark("capture", sandbox, "second").err
    done = quark("run", "--from-snapshot", "first", stdin=b"word\n")
    assert (done.status, done.out.splitlines()[-1]) == (6, "got word")
    clone = quark("run", "-d", "--from-snapshot", "first").out.strip()
    assert json.loads(quark("capture", clone, "layer", "--json").out)["parent"] == "first"
    assert json.loads(quark("capture", clone, "flat", "--flat", "--json").out)["parent"] is None
    for i in (sandbox, clone):
        assert quark("kill", i).status == 0
    one_line(quark("capture", sandbox, "third"), 79, sandbox)
    one_line(quark("capture", sandbox), 2, "ID NAME")


def test_errors_at_the_start_of_a_detached_one(quark):
    one_line(quark("run", "-d", "--rootfs", "/absent", "--", "/bin/true"), 62, "/absent")
    one_line(quark("run", "-d", "--from-snapshot", "absent"), 40, "absent")
    one_line(quark("run", "-d", "--debug", "--", "/bin/true"), 2, "--debug")
    assert ps(quark) == {}


def test_top(quark, terminal):
    sandboxes = {detach(quark, ECHO), detach(quark, ECHO)}
    text = quark("top").out
    assert all(i in text for i in sandboxes)
    assert text.splitlines()[-1].startswith("2 sandboxes with ")
    assert quark("top", "--once").out.splitlines()[0] == text.splitlines()[0]
    data = json.loads(quark("top", "--json").out)
    assert {s["id"] for s in data["sandboxes"]} == sandboxes
    assert data["totals"]["private_bytes"] == sum(s["private_bytes"] for s in data["sandboxes"]) > 0
    t = terminal(["/bin/sh", "-c", f"stty rows 24 cols 80; exec {' '.join(quark.command('top', '--interval', '0.2'))}"])
    t.until(b"2 sandboxes with ")
    t.until(b"PRIVATE")
    assert quark("kill", sandboxes.pop()).status == 0
    t.until(b"1 sandboxes with ")
    t.until(sandboxes.pop().encode())
    t.write(b"\x03")
    assert t.end()[0] == 0
    for i in ps(quark):
        quark("kill", i)


def test_attach_by_pipes(quark):
    sandbox = detach(quark, ECHO)
    done = quark("attach", sandbox, stdin=b"one\ntwo\n")
    assert (done.status, done.out, done.err) == (6, "up\ngot one\ngot two\n", "")
    assert quark("attach", sandbox).out == done.out, "what was kept"


def test_attach_separates_the_streams_and_passes_signals_on(quark):
    code = (
        "import signal, sys\nsignal.signal(signal.SIGUSR1, lambda *_: sys.exit(9))\nprint('aside', file=sys.stderr)\n"
        + ECHO
    )
    sandbox = detach(quark, code)
    p = quark.start("attach", sandbox)
    assert p.stdout.readline() == b"up\n"
    assert p.stderr.readline() == b"aside\n"
    p.send_signal(signal.SIGUSR1)
    assert p.wait(10) == 9
    p.communicate()


def test_attach_and_detach_on_a_terminal(quark, terminal):
    """The sandbox has pipes: lines are edited here, and echoed once."""
    sandbox = detach(quark, ECHO)
    t = terminal(quark.command("attach", sandbox))
    before = t.mode()
    t.until(b"up")
    t.write(b"wrong\x15one\n")
    t.until(b"got one")
    t.write(b"\x1d")
    t.until(b"detached from")
    assert t.mode() == before
    assert t.end()[0] == 0
    assert ps(quark)[sandbox]["state"] == "running"
    p = quark.start("attach", sandbox)
    p.stdout.readline()
    p.send_signal(signal.SIGTERM)
    p.wait(10)
    out, err = p.communicate()
    assert (p.returncode, err.count(b"detached")) == (0, 1), (out, err)
    assert ps(quark)[sandbox]["state"] == "running"
    t = terminal(quark.command("attach", sandbox))
    t.until(b"got one")
    t.write(b"\x03")
    status, text = t.end()
    assert status == 130
    assert b"KeyboardInterrupt" in text


def test_attach_to_a_terminal(quark, terminal):
    """The sandbox has a terminal: this one is raw, and keys, window sizes and Ctrl-C are the sandbox's."""
    code = (
        "import os, signal, sys\n"
        "def size(*_): print('size', os.get_terminal_size().columns, flush=True)\n"
        "signal.signal(signal.SIGWINCH, size)\n"
        "def stop(*_): print('stopping'); sys.exit(3)\n"
        "signal.signal(signal.SIGINT, stop)\n"
        "assert all(os.isatty(n) for n in range(3))\n"
        "while True: print('got', input(), flush=True)"
    )
    sandbox = detach(quark, code, "--tty")
    assert ps(quark)[sandbox]["tty"] is True
    t = terminal(["/bin/sh", "-c", f"stty cols 88; exec {subprocess.list2cmdline(quark.command('attach', sandbox))}"])
    t.until(b"size 88")
    assert not t.mode()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    t.resize(30, 66)
    t.until(b"size 66")
    t.write(b"hello\r")
    t.until(b"got hello\r\n")
    t.write(b"\x1d")
    t.until(b"detached from")
    assert t.mode()[3] & termios.ICANON
    assert t.end()[0] == 0
    t = terminal(quark.command("attach", sandbox))
    t.until(b"got hello")
    time.sleep(0.3)
    t.write(b"\x03")
    t.until(b"stopping")
    assert t.end()[0] == 3


def test_attach_without_anything_to_say(quark):
    """A service or a background job listens only: the program's standard input stays open for whoever comes next."""
    sandbox = detach(quark, ECHO)
    for how in ("</dev/null", "<&-"):
        command = f"{subprocess.list2cmdline(quark.command('attach', sandbox))} {how}"
        listener = subprocess.Popen(["/bin/sh", "-c", f"exec {command}"], stdout=subprocess.PIPE)
        assert listener.stdout.readline() == b"up\n"
        time.sleep(0.5)
        assert listener.poll() is None
        assert ps(quark)[sandbox]["state"] == "running"
        listener.terminate()
        listener.communicate(timeout=20)
        assert listener.returncode == 0, "it only left"
    assert quark("attach", sandbox, stdin=b"one\n").out == "up\ngot one\n"


def test_attach_to_streams_that_take_nothing(quark):
    sandbox = detach(quark, ECHO)

    def attach(how):
        command = f"exec {subprocess.list2cmdline(quark.command('attach', sandbox))} {how}"
        return subprocess.run(["/bin/sh", "-c", command], capture_output=True, timeout=60, check=False)

    done = attach("</dev/null >/dev/full")
    assert (done.returncode, done.stderr.count(b"\n")) == (85, 1), done
    assert b"quark: standard output: No space left" in done.stderr
    assert ps(quark)[sandbox]["state"] == "running"
    done = attach("<<END >&-\none\nEND\n")
    assert (done.returncode, done.stderr) == (6, b"")


def test_a_shell_that_is_left_and_found_again(quark, terminal):
    """Job control of a detached shell's terminal works from whatever terminal is attached to it."""
    sandbox = quark(
        "run", "-d", "--tty", "--env", "PS1=# ", "--", "/bin/bash", "--norc", "--noprofile", "-i"
    ).out.strip()
    t = terminal(quark.command("attach", sandbox))
    t.until(b"# ")
    t.write(b"sleep 100\r")
    t.until(b"sleep 100")
    time.sleep(0.5)
    t.write(b"\x1a")
    t.until(b"Stopped")
    t.until(b"# ")
    t.write(b"\x1d")
    t.until(b"detached from")
    assert t.end()[0] == 0
    t = terminal(quark.command("attach", sandbox))
    t.until(b"Stopped")  # what was kept
    t.write(b"fg\r")
    t.until(b"sleep 100")
    time.sleep(0.5)
    t.write(b"\x03")
    t.until(b"# ")
    t.write(b"echo status $?\r")
    t.until(b"status 130")
    t.write(b"exit 7\r")
    assert t.end()[0] == 7


def test_the_daemon_ends_while_attached(quark, daemon, terminal):
    sandbox = detach(quark, ECHO)
    t = terminal(quark.command("attach", sandbox))
    t.until(b"up")
    before = t.mode()
    daemon.kill()
    status, text = t.end()
    assert status == 77
    assert text.count(b"quark: ") == 1
    assert before
    one_line(quark("ps"), 77, "snapshotd --root")
    daemon.start()


@pytest.mark.parametrize(
    "command", ["ps", "top", "kill x", "pause x", "resume x", "attach x", "capture x y", "run -d x"]
)
def test_without_a_daemon(quark, command):
    one_line(
        quark(*command.split(), "--no-daemon") if "run" not in command else quark("--no-daemon", *command.split()),
        77,
        "--no-daemon",
    )
