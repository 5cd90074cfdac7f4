"""The command through a daemon and without one: terminals, signals, job control, and what happens when the daemon is not there any more."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3.11"
BOTH_WAYS = True
READY = "import os; f = os.open('/dev/quark', os.O_RDWR); os.write(f, b'ready\\n'); doc = os.read(f, 65536)\n"
SLEEPER = "print('up', flush=True)\nimport time\nwhile True: time.sleep(0.05)"


def start_python(quark, code, *options):
    return quark.start("run", *options, "--", PYTHON, "-u", "-c", code)


def test_the_daemon_does_the_work(quark):
    """Otherwise the other tests would prove nothing: a sandbox of the daemon shows in `ps`, its own or not."""
    p = start_python(quark, SLEEPER)
    assert p.stdout.readline() == b"up\n"
    listed = quark("ps", "--json")
    if quark.daemon:
        assert [s["argv"][0] for s in json.loads(listed.out)] == [PYTHON]
        assert not Path(f"/proc/{p.pid}/maps").read_text().count("kvm-vcpu")
    else:
        assert listed.status == 77
        assert json.loads(listed.err)["class"] == "DaemonLostError"
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=10)
    assert p.returncode == 128 + signal.SIGTERM


def test_no_daemon_is_asked_for(quark):
    p = start_python(quark, SLEEPER, "--no-daemon")
    assert p.stdout.readline() == b"up\n"
    assert "kvm-vcpu" in Path(f"/proc/{p.pid}/maps").read_text()
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=10)
    assert p.returncode == 128 + signal.SIGINT


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"])
def test_signals_reach_the_program(quark, name):
    code = (
        "import os, signal, sys, time\n"  # os.write: the signal may come within print()
        f"signal.signal(signal.{name}, lambda n, _: (os.write(1, b'got %d\\n' % n), sys.exit(7)))\n" + SLEEPER
    )
    p = start_python(quark, code)
    assert p.stdout.readline() == b"up\n"
    p.send_signal(signal.Signals[name])
    out, err = p.communicate(timeout=10)
    assert (p.returncode, out) == (7, f"got {int(signal.Signals[name])}\n".encode()), err


def test_a_signal_during_the_start_is_not_lost(quark):
    """Right after its start the command may still die of it; from the moment on that it is connected the sandbox gets it."""
    for delay in (0.0, 0.01, 0.02, 0.03, 0.05, 0.1):
        p = start_python(quark, SLEEPER)
        time.sleep(delay)
        p.send_signal(signal.SIGTERM)
        p.communicate(timeout=10)
        assert p.returncode in {-signal.SIGTERM, 128 + signal.SIGTERM}
    if quark.daemon:
        deadline = time.monotonic() + 5
        while json.loads(quark("ps", "--json").out):
            assert time.monotonic() < deadline, "a sandbox was left over"


def test_a_killed_command_takes_its_sandbox_along(quark, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    code = "import time, os\nprint('up', flush=True)\nwhile True: open('/data/beat', 'a').write('x'); time.sleep(0.02)"
    p = start_python(quark, code, "-v", f"{shared}:/data")
    assert p.stdout.readline() == b"up\n"
    while not (shared / "beat").exists():
        time.sleep(0.01)
    p.kill()
    p.communicate(timeout=10)
    time.sleep(0.5)
    size = (shared / "beat").stat().st_size
    time.sleep(0.3)
    assert (shared / "beat").stat().st_size == size


def test_relative_paths_are_the_callers(quark, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file").write_text("content")
    done = quark("run", "-v", "here:/data:ro", "--", "/bin/cat", "/data/file", cwd=tmp_path)
    assert (done.status, done.out) == (0, "content"), done.err
    done = quark("run", "--rootfs", "absent", "--", "/bin/true", cwd=tmp_path)
    assert done.status == 62
    assert str(tmp_path / "absent") in done.err


def test_closed_streams(quark):
    command = " ".join(quark.command("run", "--", "/bin/echo", "hello"))
    done = subprocess.run(["sh", "-c", f"{command} <&- 2>&-"], capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stdout) == (0, "hello\n")


def test_a_large_request(quark):
    """More than a message of the session socket holds; and more than a sandbox takes."""
    text = "x" * 100_000
    done = quark("run", "--", PYTHON, "-c", "import sys; print(sum(map(len, sys.argv)))", text, text)
    assert (done.status, done.out) == (0, "200002\n"), done.err
    done = quark("run", "--", "/bin/true", *[text] * 8)
    assert done.status == 2, done.err
    assert "the limit is" in done.err


def test_a_file_is_a_stream(quark, tmp_path):
    (tmp_path / "in").write_bytes(b"abc" * 10)
    with (tmp_path / "in").open("rb") as i, (tmp_path / "out").open("wb") as o:
        done = subprocess.run(quark.command("run", "--", "/bin/cat"), stdin=i, stdout=o, check=False, timeout=20)
    assert (done.returncode, (tmp_path / "out").read_bytes()) == (0, b"abc" * 10)


def test_a_reader_that_goes_away(quark):
    command = " ".join(quark.command("run", "--", "/usr/bin/yes"))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"], capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, done.stdout) == (128 + signal.SIGPIPE, "y\n"), done.stderr


def test_terminal_window_and_raw_mode(quark, terminal, tmp_path):
    # os.write: a signal may come within print(). The wake-up descriptor: it may come before the call that waits.
    code = (
        "import os, select, signal, sys, termios, tty\n"
        "def say(*words): os.write(1, b'%r\\n' % (words,))\n"
        "def size(*_): say('size', os.get_terminal_size().columns)\n"
        "woken, wake = os.pipe(); os.set_blocking(wake, False); signal.set_wakeup_fd(wake)\n"
        "signal.signal(signal.SIGWINCH, size)\n"
        "assert all(os.isatty(n) for n in range(3))\n"
        "size(); mode = termios.tcgetattr(0); tty.setraw(0)\n"
        "say('raw')\n"
        "key = b''\n"
        "while key != b'q':\n"
        "    ready, _, _ = select.select([0, woken], [], [])\n"
        "    if woken in ready: os.read(woken, 1)\n"
        "    if 0 in ready: key = os.read(0, 1); say(key)\n"
        "termios.tcsetattr(0, termios.TCSADRAIN, mode); sys.exit(5)"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    t = terminal(
        ["/bin/sh", "-c", f"stty cols 91; exec {subprocess.list2cmdline(quark.command('run', '--', PYTHON, script))}"]
    )
    t.until(b"('size', 91)")
    t.until(b"('raw',)")
    t.write(b"\x03")
    t.until(b"b'\\x03'")
    t.resize(30, 77)
    t.until(b"('size', 77)")
    t.write(b"q")
    assert t.end()[0] == 5


def test_ctrl_c_on_a_terminal(quark, terminal):
    t = terminal(quark.command("run", "--", PYTHON, "-c", SLEEPER))
    t.until(b"up")
    t.write(b"\x03")
    status, text = t.end()
    assert status == 128 + signal.SIGINT
    assert b"KeyboardInterrupt" in text


@pytest.fixture
def shell(terminal):
    """An interactive bash on a terminal."""
    t = terminal(["/bin/bash", "--norc", "--noprofile", "-i"])
    # set -b: what becomes of a job is told at once, not before the next prompt.
    t.write(b"set -b; PS1='prompt> '\n")
    t.until(b"prompt> ")
    t.until(b"prompt> ")
    yield t
    t.write(b"\x03\nexit 0\n")
    t.end()


def test_job_control(quark, shell, tmp_path):
    """Ctrl-Z stops the sandbox, `fg` goes on."""
    script = tmp_path / "script.py"
    script.write_text("import time\nwhile True: print('beat', flush=True); time.sleep(0.05)")
    shell.write(subprocess.list2cmdline(quark.command("run", "--", PYTHON, script)).encode() + b"\n")
    shell.until(b"beat")
    shell.write(b"\x1a")
    shell.until(b"Stopped")
    shell.until(b"prompt> ")
    time.sleep(0.2)
    assert b"beat" not in shell.within(0.5)
    shell.write(b"echo still $((1 + 1)) here\n")
    shell.until(b"still 2 here")
    shell.write(b"fg\n")
    shell.until(b"beat")
    shell.write(b"\x03")
    shell.until(b"prompt> ")
    shell.write(b"echo status $?\n")
    shell.until(b"status 130")


def test_in_the_background_the_shell_gets_what_is_typed(quark, shell, tmp_path):
    script = tmp_path / "script.sh"
    script.write_text("echo begins; read x; echo took $x; read y; echo took $y")
    command = subprocess.list2cmdline(quark.command("run", "--", "/bin/sh", script)).encode()
    shell.write(command + b" &\n")
    shell.until(b"begins")
    for n in (1, 2, 3):
        shell.write(b"echo for the $((%d + 1)) shell\n" % n)
        shell.until(b"for the %d shell" % (n + 1))
    shell.write(b"kill -9 %1; sleep 0.3; jobs\n")
    shell.until(b"Killed")


@pytest.mark.alone
def test_put_into_the_background_the_shell_gets_what_is_typed(quark, daemon, shell, tmp_path):  # noqa: ARG001 - has to run
    script = tmp_path / "script.sh"
    script.write_text("echo begins; read x; echo took $x")
    shell.write(subprocess.list2cmdline(quark.command("run", "--", "/bin/sh", script)).encode() + b"\n")
    shell.until(b"begins")
    shell.write(b"\x1a")
    shell.until(b"Stopped")
    shell.write(b"bg\n")
    time.sleep(0.5)
    shell.write(b"jobs\n")
    shell.until(b"Stopped")  # as if it had read
    shell.write(b"echo for the $((2 + 2)) shell\n")
    shell.until(b"for the 4 shell")
    shell.write(b"fg\n")
    shell.until(b"script.sh")
    shell.write(b"mine\n")
    shell.until(b"took mine")


def test_put_into_the_background_it_stands_still_only_for_the_terminal(quark, shell, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import time\nwhile True: print('beat', flush=True); time.sleep(0.05)")
    command = subprocess.list2cmdline(quark.command("run", "--", PYTHON, script))
    shell.write(f"{command} </dev/null\n".encode())
    shell.until(b"beat")
    shell.write(b"\x1a")
    shell.until(b"Stopped")
    shell.until(b"prompt> ")
    time.sleep(0.2)
    assert b"beat" not in shell.within(0.3)
    shell.write(b"bg\n")
    shell.until(b"beat")
    shell.write(b"kill %1; wait; echo status $?\n")
    shell.until(b"Exit 143")


def test_detached_and_others_need_the_daemon(quark):
    done = quark("run", "--detach", "--", "/bin/true")
    if quark.daemon:
        assert (done.status, len(done.out.strip())) == (0, 16)
    else:
        assert (done.status, done.out, done.err.count("\n")) == (77, "", 1)
        assert "snapshotd --root" in done.err


def test_timing_as_text_as_json_and_in_a_file(quark, tmp_path):
    done = quark("snapshot", "create", "s", "--ready-file", "--", PYTHON, "-c", READY + "print('on')")
    assert done.status == 0, done.err
    out = tmp_path / "timing.json"
    done = quark("run", "--from-snapshot", "s", "--timing", "--json", "--timing-file", str(out))
    assert (done.status, done.out) == (0, "on\n"), done.err
    timing = json.loads(done.err)
    assert timing == json.loads(out.read_text())
    assert [s["name"] for s in timing["steps"]][-1] == "run to the first output"
    assert timing["total_us"] == sum(s["us"] for s in timing["steps"]) > 0
    done = quark("run", "--from-snapshot", "s", "--timing-file", "/does/not/exist")
    assert (done.status, done.out) == (85, "")


@pytest.mark.alone
def test_a_socket_with_no_daemon_behind_it(quark):
    run = quark.root / "run"
    run.mkdir(parents=True)
    for name, kind in (("snapshotd.sock", socket.SOCK_STREAM), ("session.sock", socket.SOCK_SEQPACKET)):
        with socket.socket(socket.AF_UNIX, kind) as s:
            s.bind(str(run / name))
    done = quark("run", "--", "/bin/echo", "hello")
    assert (done.status, done.out, done.err) == (0, "hello\n", "")
    assert quark("snapshot", "list").status == 0
    done = quark("--daemon", str(run / "snapshotd.sock"), "run", "--", "/bin/echo", "hello")
    assert (done.status, done.out, done.err.count("\n")) == (77, "", 1)


@pytest.mark.alone
def test_a_daemon_that_is_somewhere_else(quark, daemon, tmp_path):
    for target in (str(daemon.socket), f"unix:{daemon.socket}"):
        done = quark("run", "--", "/bin/true", env={**os.environ, "QUARK_DAEMON": target})
        assert done.status == 0, done.err
    elsewhere = ["--root", str(tmp_path / "elsewhere")]
    done = quark(*elsewhere, "ps", "--all", "--json", env={**os.environ, "QUARK_DAEMON": str(daemon.socket)})
    assert len(json.loads(done.out)) == 2
    assert not (tmp_path / "elsewhere").exists()
    for target in ("localhost:4000", "dns:///localhost"):
        done = quark("--daemon", target, "ps")
        assert (done.status, done.err.count("\n")) == (2, 1), done
    assert quark("--daemon", "/x/y", "--no-daemon", "ps").status == 2


@pytest.mark.alone
@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_the_daemon_ends_during_a_run(quark, daemon, tmp_path, how):
    shared = tmp_path / "shared"
    shared.mkdir()
    code = "import time\nopen('/data/beat', 'w').close()\nprint('up', flush=True)\nwhile True: open('/data/beat', 'a').write('x'); time.sleep(0.01)"
    p = start_python(quark, code, "-v", f"{shared}:/data")
    assert p.stdout.readline() == b"up\n"
    family = daemon.family()
    getattr(daemon.process, how)()
    out, err = p.communicate(timeout=30)
    size = (shared / "beat").stat().st_size
    assert (p.returncode, out, err.count(b"\n")) == (77, b"", 1), err
    assert b"daemon" in err
    time.sleep(0.2)
    assert (shared / "beat").stat().st_size == size, "the sandbox was gone before the command"
    daemon.process.wait(30)
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in family):
        assert time.monotonic() < deadline, "processes were left over"
    assert quark("run", "--", "/bin/echo", "alone").out == "alone\n"
    daemon.start()


@pytest.mark.alone
def test_the_daemon_ends_during_a_capture_and_other_calls(quark, daemon):
    p = quark.start("snapshot", "create", "x", "--ready-after", "3600", "--", PYTHON, "-u", "-c", SLEEPER)
    assert p.stdout.readline() == b"up\n"
    daemon.kill()
    out, err = p.communicate(timeout=20)
    assert (p.returncode, out, err.count(b"\n")) == (77, b"", 1), err
    assert quark("snapshot", "list", "--json").out == "[]\n"
    daemon.start()


@pytest.mark.alone
def test_a_create_that_is_killed_leaves_nothing(quark, daemon):
    """The daemon's next regular collection is minutes away."""
    packs = daemon.root / "domains" / "default" / "packs"
    p = quark.start(
        "snapshot", "create", "x", "--ready-file", "--", PYTHON, "-c", "import os; x = os.urandom(200 << 20)\n" + READY
    )
    deadline = time.monotonic() + 60
    while not (packs.exists() and any(packs.iterdir())):
        assert p.poll() is None
        assert time.monotonic() < deadline, "no capture began"
        time.sleep(0.002)
    p.kill()
    p.communicate()
    while any(packs.iterdir()):
        assert time.monotonic() < deadline, f"left over: {list(packs.iterdir())}"
        time.sleep(0.01)
    assert quark("snapshot", "list", "--json").out == "[]\n"


@pytest.mark.alone
def test_a_daemon_that_does_not_answer(quark, daemon):
    """A second Ctrl-C is enough to get away."""
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        p = start_python(quark, SLEEPER)
        time.sleep(0.7)
        assert p.poll() is None
        p.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert p.poll() is None
        p.send_signal(signal.SIGINT)
        assert p.wait(10) == 128 + signal.SIGINT
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    p.communicate(timeout=10)  # it had sent the daemon its streams
    deadline = time.monotonic() + 10
    while json.loads(quark("ps", "--json").out):
        assert time.monotonic() < deadline, "a sandbox was left over"


@pytest.mark.alone
@pytest.mark.parametrize(
    "message",
    [b"nonsense", b"begin", b"begin\0x", b"begin\0-1", b"begin\09999999999", b"begin\05", b"", b"\xff\xfe\0\0"],
)
def test_bad_messages_to_the_session_socket(quark, daemon, message):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(10)
        s.connect(str(daemon.socket.with_name("session.sock")))
        s.send(message)
        with contextlib.suppress(OSError):
            s.send(b"run\0\0x")
            s.recv(65536)
    assert quark("run", "--", "/bin/echo", "fine").out == "fine\n"
