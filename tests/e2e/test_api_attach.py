"""AttachSandbox through a real socket: input and output, terminals, signals, several clients, slow ones."""

import signal
import time

import pytest

from quark.snapshot.v1 import sandboxes_pb2 as sb

PYTHON = "/usr/bin/python3.11"
# A signal between the check for signals and a call that waits would be seen by Python after the call: the wake-up descriptor has no such gap.
SIGNALS = """
import os, signal, sys
def got(number, frame):
    os.write(1, b'got %d\\n' % number)
woken, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
for number in map(int, sys.argv[1:]):
    signal.signal(number, got)
print('up', flush=True)
while True:
    os.read(woken, 1)
"""
RESIZED = """
import os, select, signal
def show(*_):
    size = os.get_terminal_size()
    os.write(1, b'%d x %d\\n' % (size.lines, size.columns))
woken, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
signal.signal(signal.SIGWINCH, show)
print('up', os.isatty(0), os.isatty(1), os.isatty(2), flush=True)
while True:
    ready, _, _ = select.select([0, woken], [], [])
    if woken in ready:
        os.read(woken, 1)
    if 0 in ready:
        print('line', input(), flush=True)
"""


def test_input_and_output(api):
    sandbox = api.start("cat; echo err >&2; echo end; exit 6")
    attached = api.attach(sandbox)
    data = bytes(range(256)) * 4096
    for i in range(0, len(data), 100_000):
        attached.send(stdin=data[i : i + 100_000])
    attached.send(close_stdin=True)
    assert attached.rest() == data + b"end\n"
    assert (attached.err, attached.lost) == (b"err\n", 0)
    assert (attached.ended.id, attached.ended.exit_status) == (sandbox, 6)
    assert attached.ended.state == sb.Sandbox.EXITED
    # Whoever comes later sees what was kept.
    assert api.attach(sandbox).rest() == data + b"end\n"


def test_input_that_nobody_reads_holds_the_client_back(api):
    sandbox = api.start("echo up; while :; do :; done")
    sent = []

    def requests():
        yield sb.AttachSandboxRequest(id=sandbox)
        for _ in range(1000):
            sent.append(1 << 18)
            yield sb.AttachSandboxRequest(stdin=bytes(1 << 18))

    call = api.sandboxes.AttachSandbox(requests(), timeout=30)
    assert next(call).stdout == b"up\n"
    last, since = -1, time.monotonic()
    while time.monotonic() - since < 0.3:
        if len(sent) != last:
            last, since = len(sent), time.monotonic()
        time.sleep(0.01)
    assert 4 < len(sent) < 200, "the daemon took all of it"
    call.cancel()
    assert api.kill(sandbox).exit_status == 128 + 9


def test_leaving_lets_the_sandbox_go_on(api):
    sandbox = api.start("while read x; do echo $x; done; exit 2")
    with api.nothing_left():
        for i in range(3):
            attached = api.attach(sandbox)
            attached.send(stdin=b"%d\n" % i)
            attached.until(b"%d\n" % i)
            attached.leave()
    half_closed = api.attach(sandbox)
    half_closed.requests.put(None)  # no more requests, but the output is still wanted
    half_closed.until(b"2\n")
    other = api.attach(sandbox)
    other.send(stdin=b"last\n", id="ignored later")
    other.send(close_stdin=True)
    assert half_closed.rest() == b"last\n"
    assert half_closed.ended.exit_status == 2


def test_two_clients_see_the_same(api):
    sandbox = api.start("while read x; do echo $x $x; done")
    one, two = api.attach(sandbox), api.attach(sandbox)
    for i in range(20):
        (one, two)[i % 2].send(stdin=b"%d\n" % i)
        for client in (one, two):
            client.until(b"%d %d\n" % (i, i))
    one.send(close_stdin=True)
    for client in (one, two):
        assert client.rest() == b""


def test_a_slow_client_loses_output_and_is_told(make_daemon, connect):
    daemon = make_daemon("output_bytes = 65536")
    api = connect(f"unix:{daemon.socket}", daemon)
    total = 12_000_000
    sandbox = api.start(f"read x; head -c {total} /dev/zero; echo end >&2; read x")
    attached, quick = api.attach(sandbox), api.attach(sandbox)
    attached.send(stdin=b"\n")
    # The program writes on although the first client reads nothing.
    while b"end\n" not in quick.err:
        quick.step()
    quick.send(stdin=b"\n")
    quick.rest()
    attached.rest()
    assert attached.lost > 0
    for client in (attached, quick):
        assert len(client.out) + client.lost == total
        assert client.err == b"end\n"


@pytest.mark.parametrize("number", [1, 2, 3, 10, 12, 15])
def test_signals(api, number):
    sandbox = api.start(argv=[PYTHON, "-c", SIGNALS, str(number)])
    attached = api.attach(sandbox)
    attached.until(b"up\n")
    for _ in range(2):
        attached.send(signal=number)
        attached.until(b"got %d\n" % number)
    attached.send(signal=signal.SIGKILL)
    attached.rest()
    assert attached.ended.exit_status == 128 + 9


def test_signals_that_are_refused(api):
    sandbox = api.start("echo up; read x; exit 9")
    for number in (0, 19, 64, 65, -1, 1 << 30):
        attached = api.attach(sandbox)
        attached.send(signal=number)
        with api.failure("INVALID_ARGUMENT") as f:
            attached.rest()
        assert (f.reason, f.exit_code) == ("UsageError", 2)
        assert "SIGTERM" in f.advice
    other = api.attach(sandbox)
    other.send(stdin=b"\n")
    other.rest()
    assert other.ended.exit_status == 9
    late = api.attach(sandbox)
    late.send(signal=15)
    late.step()  # what was kept
    assert late.out == b"up\n"


def test_a_terminal(api):
    sandbox = api.start(argv=[PYTHON, "-c", RESIZED], tty=True)
    assert api.sandbox(sandbox).tty
    attached = api.attach(sandbox)
    attached.until(b"up True True True\r\n")
    for rows, columns in ((24, 80), (50, 132), (1, 1)):
        attached.send(window_size=sb.WindowSize(rows=rows, columns=columns))
        attached.until(b"%d x %d\r\n" % (rows, columns))
    attached.send(stdin=b"hello\r")
    attached.until(b"hello\r\nline hello\r\n")  # echoed, then answered
    attached.send(close_stdin=True)  # end of file, as Ctrl-D
    attached.until(b"EOFError")
    attached.rest()
    assert attached.ended.exit_status == 1
    # Ctrl-C is the terminal's own affair.
    attached = api.attach(api.start("echo up; read x", tty=True))
    attached.until(b"up\r\n")
    attached.send(stdin=b"\x03")
    attached.rest()
    assert attached.ended.exit_status == 128 + signal.SIGINT


def test_signals_reach_a_terminals_program(api):
    attached = api.attach(api.start(argv=[PYTHON, "-c", SIGNALS, "2", "15"], tty=True))
    attached.until(b"up\r\n")
    for number in (2, 15):
        attached.send(signal=number)
        attached.until(b"got %d\r\n" % number)
    attached.send(signal=signal.SIGKILL)
    attached.rest()


def test_a_clone_on_a_terminal(api):
    """Its streams were pipes when it was captured."""
    api.create("s")
    attached = api.attach(api.start(clone="s", tty=True))
    attached.send(stdin=b"a\r")
    attached.until(b"1:a")
    attached.send(close_stdin=True)
    attached.rest()
    assert attached.ended.exit_status == 3
