"""Programs that write much in small pieces to a pipe: what a reader sees is what the program wrote, in order, soon, and once."""

import os
import select
import signal
import subprocess
import time

QUARK = (".venv/bin/quark", "run", "--")
PYTHON = "/usr/bin/python3.11"
SECONDS = 60
PIECE = 4096


def python(code, *args):
    return [*QUARK, PYTHON, "-c", code, *args]


def test_two_streams_on_one_pipe_keep_their_order():
    code = (
        "import os\n"
        "for i in range(3000):\n"
        "    for j in range(5): os.write(1, b'%06d\\n' % (6 * i + j))\n"
        "    os.write(2, b'%06d\\n' % (6 * i + 5))"
    )
    done = subprocess.run(python(code), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=True)
    assert done.stdout.split() == [b"%06d" % i for i in range(18000)]


def test_a_child_and_its_parent_keep_their_order():
    code = (
        "import os\n"
        "for i in range(300):\n"
        "    for j in range(50): os.write(1, b'%d\\n' % i)\n"
        "    if not os.fork():\n"
        "        for j in range(50): os.write(1, b'%d child\\n' % i)\n"
        "        os._exit(0)\n"
        "    os.wait()"
    )
    done = subprocess.run(python(code), stdout=subprocess.PIPE, timeout=SECONDS, check=True)
    assert done.stdout == b"".join(b"%d\n" % i * 50 + b"%d child\n" % i * 50 for i in range(300))


def test_what_was_written_comes_although_the_program_goes_on_computing():
    code = (
        "import os, time\n"
        "for i in range(1000): os.write(1, b'x')\n"
        "until = time.monotonic() + 20\n"
        "while time.monotonic() < until: pass"
    )
    with subprocess.Popen(python(code), stdout=subprocess.PIPE) as p:
        got, started = 0, 0.0
        while got < 1000:
            assert select.select([p.stdout], [], [], SECONDS)[0]
            started = started or time.monotonic()
            got += len(os.read(p.stdout.fileno(), 65536))
        seconds = time.monotonic() - started
        p.terminate()
        p.wait(timeout=SECONDS)
    assert seconds < 5, "it came only when the program ended"


def test_the_reader_leaves():
    """The writer gets SIGPIPE, as in `yes | head`."""
    with subprocess.Popen([*QUARK, "/usr/bin/yes"], stdout=subprocess.PIPE) as p:
        assert p.stdout.read(100_000).startswith(b"y\ny\n")
        p.stdout.close()
        assert p.wait(timeout=SECONDS) == 128 + signal.SIGPIPE


def test_a_slow_reader_gets_all():
    code = "import os\nfor i in range(100000): os.write(1, b'%07d\\n' % i)"
    with subprocess.Popen(python(code), stdout=subprocess.PIPE) as p:
        time.sleep(1)
        out = b""
        while data := os.read(p.stdout.fileno(), 50_000):
            out += data
            time.sleep(0.01)
        assert p.wait(timeout=SECONDS) == 0
    assert out == b"".join(b"%07d\n" % i for i in range(100_000))


def test_the_end_does_not_wait_for_a_reader_that_never_reads_when_asked_to_end():
    code = "import os\nfor i in range(1 << 20): os.write(1, b'y' * 4096)"
    with subprocess.Popen(python(code), stdout=subprocess.PIPE) as p:
        time.sleep(2)
        p.terminate()
        assert p.wait(timeout=SECONDS) == 128 + signal.SIGTERM


def test_a_pipe_that_does_not_wait():
    """O_NONBLOCK: each write is taken whole, in part or not, and what the writer counts is what comes."""
    code = (
        "import os, sys\n"
        "os.set_blocking(1, False)\n"
        "done = 0\n"
        "for i in range(20000):\n"
        "    try: done += os.write(1, b'z' * 1000)\n"
        "    except BlockingIOError: pass\n"
        "print(done, file=sys.stderr)"
    )
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        time.sleep(1)
        out, err = p.communicate(timeout=SECONDS)
    assert len(out) == int(err)


def test_a_clone_does_not_say_again_what_was_said(tmp_path):
    """A capture in the middle of the writing: the original's output is whole, and a clone's goes on where that was."""
    root = tmp_path / "state"
    code = "import os\nfor i in range(200000): os.write(1, b'%07d\\n' % i)"
    create = [".venv/bin/quark", "--root", str(root), "snapshot", "create", "s", "--ready-log", "0050000", "--"]
    made = subprocess.run([*create, PYTHON, "-c", code], capture_output=True, timeout=SECONDS, check=True)
    lines = [line for line in made.stdout.split() if line.isdigit()]
    run = [".venv/bin/quark", "--root", str(root), "run", "--from-snapshot", "s"]
    clone = subprocess.run(run, stdout=subprocess.PIPE, timeout=SECONDS, check=True).stdout.split()
    assert clone[-1] == b"0199999"
    assert clone == [b"%07d" % i for i in range(int(clone[0]), 200_000)]
    assert int(clone[0]) <= int(lines[-1]) + 1 + 0x80000 // 8, "lost"
    assert int(clone[0]) >= int(lines[-1]) + 1, "said twice"
