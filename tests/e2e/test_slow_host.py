"""Files, terminals and pipes of the host that do not answer hold up their own guest only: nobody else, no kill, not the daemon."""

import concurrent.futures
import contextlib
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

from quark.snapshot.v1 import sandboxes_pb2 as sb
from tests.conftest import alive

PYTHON = "/usr/bin/python3.11"
READS = "echo begins; head -c 1 /v/file"


def volume(files):
    return {"volumes": [sb.Volume(source=str(files.where), target="/v")]}


def begun(api, sandbox_id):
    """It waits for the host."""
    attached = api.attach(sandbox_id)
    attached.until(b"begins\n")
    attached.leave()
    time.sleep(0.5)


def test_a_slow_read_is_not_interrupted(quark, slow_files):
    """Timers of the guest go on, and the read is asked for once."""
    files = slow_files("READ")
    files.hold()
    code = (
        "import os, signal, time; signal.signal(14, lambda *a: None); signal.setitimer(0, 0.02, 0.02)\n"
        "print('begins', flush=True); print(len(open('/v/file', 'rb', 0).read(10)))"
    )
    p = quark.start("run", "-v", f"{files.where}:/v", "--", PYTHON, "-c", code)
    assert p.stdout.readline() == b"begins\n"
    time.sleep(1)
    files.release()
    out, err = p.communicate(timeout=60)
    assert (p.returncode, out) == (0, b"10\n"), err


def test_kill(api, slow_files):
    files = slow_files("READ", "FSYNC")
    files.hold()
    stuck = api.start(READS, spec=volume(files))
    begun(api, stuck)
    killed = api.kill(stuck)
    assert (killed.state, killed.exit_status) == (sb.Sandbox.EXITED, 137)
    assert api.wait(stuck).exit_status == 137
    assert api.run("echo other").stdout == b"other\n"
    files.release()


def test_pause_and_capture_say_so(api, slow_files):
    files = slow_files("READ")
    files.hold()
    stuck = api.start(READS, spec=volume(files))
    begun(api, stuck)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        pausing = threads.submit(failed, api, lambda: api.pause(stuck))
        capturing = threads.submit(
            failed,
            api,
            lambda: list(api.sandboxes.CaptureSandbox(sb.CaptureSandboxRequest(id=stuck, name="s"), timeout=90)),
        )
        assert api.run("echo other").stdout == b"other\n"
        assert "did not answer within" in pausing.result().message
        assert "did not stand still within" in capturing.result().message
    files.release()
    assert api.wait(stuck).exit_status == 0
    assert api.names() == []


def failed(api, call):
    with api.failure() as failure:
        call()
    return failure


def test_the_daemon_lets_go(api, slow_files, quark, make_daemon):
    """With a guest that waits for the host, and a request that never got that far: another daemon takes over, whatever the kernel still holds of this one."""
    files = slow_files("READ", "GETATTR")
    files.hold()
    stuck = api.sandboxes.RunSandbox.future(api.request(READS, spec=volume(files)), timeout=60)
    time.sleep(1)
    assert not stuck.done()
    assert api.run("echo other").stdout == b"other\n"
    old, family = quark.daemon.process, quark.daemon.family()
    old.terminate()
    api.until(lambda: not quark.daemon.answers(), "it accepts no more")
    api.until(lambda: not any(alive(pid) for pid in family), "its sandboxes are gone")
    api.until(lambda: state_of(old.pid) in {"Z", ""}, "its main thread has ended")
    make_daemon()
    assert quark("run", "--", "/bin/echo", "next").out == "next\n"
    files.release()
    assert old.wait(30) == 0
    stuck.cancel()


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_the_daemon_ends_while_a_pager_hangs(api, quark):
    api.create("s", "echo ready >/dev/quark; cat")
    api.run(clone="s")
    for pid in quark.pagers():
        os.kill(pid, signal.SIGSTOP)
    hanging = api.sandboxes.RunSandbox.future(api.request(clone="s"), timeout=60)
    time.sleep(0.5)
    assert not hanging.done()
    quark.daemon.process.terminate()
    try:
        assert quark.daemon.process.wait(30) == 0
    finally:
        for pid in quark.pagers():
            os.kill(pid, signal.SIGCONT)
    hanging.cancel()


def test_a_terminal_that_nobody_reads(quark):
    """The program's other threads go on; once it did not."""
    code = (
        "import os, sys, threading, time\n"
        "def end():\n"
        "    time.sleep(1)\n"
        "    os._exit(3)\n"
        "threading.Thread(target=end).start()\n"
        "while True: os.write(1, b'y' * 5000)\n"
    )
    reader, terminal = pty.openpty()
    try:
        command = quark.command("run", "--", PYTHON, "-c", code)
        p = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE)
        try:
            assert p.wait(60) == 3
        finally:
            with contextlib.suppress(ProcessLookupError):
                p.kill()
            p.stderr.close()
    finally:
        os.close(reader)
        os.close(terminal)
