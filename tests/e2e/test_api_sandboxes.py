"""SandboxService through a real socket: starting, asking, waiting, pausing, capturing."""

import re
import time
from pathlib import Path

import grpc

from quark.snapshot.v1 import sandboxes_pb2 as sb

SPIN = "echo up; while :; do :; done"
UNKNOWN = "0123456789abcdef"


def test_run_to_the_end(api):
    done = api.run("pwd; echo $K; cat; echo err >&2; exit 7", stdin=b"in\0put\n", env={"K": "V"}, spec={"cwd": "/tmp"})
    assert (done.stdout, done.stderr, done.output_truncated) == (b"/tmp\nV\nin\0put\n", b"err\n", False)
    s = done.sandbox
    assert (s.state, s.exit_status, s.error, s.snapshot) == (sb.Sandbox.EXITED, 7, "", "")
    assert list(s.argv)[:2] == ["/bin/sh", "-c"]
    assert s.end_time.ToNanoseconds() > s.start_time.ToNanoseconds() > (time.time_ns() - 60 * 10**9)
    assert re.fullmatch("[0-9a-f]{16}", s.id)
    assert api.run("kill -TERM $$").sandbox.exit_status == 128 + 15


def test_run_from_a_snapshot(make_daemon, connect):
    daemon = make_daemon("prepared = 0")
    api = connect(f"unix:{daemon.socket}", daemon)
    api.create("s", "echo ready >/dev/quark; cat /dev/quark")
    ran = [api.run(clone="s", args=["a", "b"], env={"K": "V"}, payload="p") for _ in range(2)]
    for done in ran:
        assert b'"args": ["a", "b"]' in done.stdout
        assert b'"env": {"K": "V"}, "payload": "p"' in done.stdout
        assert (done.sandbox.snapshot, list(done.sandbox.argv)) == ("s", ["a", "b"])
        steps = {step.name: step.microseconds for step in done.sandbox.timeline}
        assert steps["attach to the image"] > 0
        assert steps["run to the first output"] > 0
    assert ran[0].sandbox.generation != ran[1].sandbox.generation
    no_prefetch = sb.RunSandboxRequest(clone=sb.CloneRequest(snapshot="s", no_prefetch=True), wait=True)
    steps = [step.name for step in api.sandboxes.RunSandbox(no_prefetch, timeout=30).sandbox.timeline]
    assert "map the working set" not in steps
    assert "map the working set" in [step.name for step in api.run(clone="s").sandbox.timeline]


def test_only_the_last_bytes_are_kept(make_daemon, connect):
    daemon = make_daemon("output_bytes = 1000")
    api = connect(f"unix:{daemon.socket}", daemon)
    done = api.run("head -c 50000 /dev/zero; echo end")
    assert (len(done.stdout), done.stdout[-5:], done.output_truncated) == (1000, b"\0end\n", True)
    assert not api.run("head -c 999 /dev/zero").output_truncated


def test_run_refuses(api):
    with api.nothing_left():
        for request, reason, fields in (
            (sb.RunSandboxRequest(), "FieldError", ("source",)),
            (api.request(argv=[""]), "FieldError", ("spec.argv",)),
            (api.request("", spec={"cwd": "x"}), "FieldError", ("spec.cwd",)),
            (api.request("", spec={"memory_bytes": 1}), "MemorySizeError", ("spec.memory_bytes",)),
            (api.request(clone=""), "BadNameError", ("clone.snapshot",)),
        ):
            with api.failure("INVALID_ARGUMENT") as f:
                api.sandboxes.RunSandbox(request, timeout=30)
            assert (f.reason, f.fields) == (reason, fields)
        for spec, code, reason in (
            ({"rootfs": "/absent"}, "NOT_FOUND", "RootfsError"),
            ({"volumes": [sb.Volume(source="/absent", target="/data")]}, "NOT_FOUND", "VolumeError"),
        ):
            with api.failure(code) as f:
                api.start("true", spec=spec)
            assert f.reason == reason
    # A program that is not there is the sandbox's affair, as in a shell.
    assert api.run(argv=["/absent"]).sandbox.exit_status == 127


def test_unknown_ids(api):
    for call in (api.sandbox, api.wait, api.kill, api.pause, api.resume):
        with api.failure("NOT_FOUND") as f:
            call(UNKNOWN)
        assert (f.reason, f.exit_code) == ("SandboxUnknownError", 78)
        assert UNKNOWN in f.message
    with api.failure("NOT_FOUND"):
        api.capture(UNKNOWN, "s")
    with api.failure("NOT_FOUND"):
        api.attach(UNKNOWN).step()
    with api.failure("INVALID_ARGUMENT") as f:
        api.attach("").step()
    assert f.fields == ("id",)


def test_get_list_wait_kill(api):
    spinner, sleeper = api.start(SPIN), api.start("read x; exit 4")
    state = api.sandbox(spinner)
    assert (state.id, state.state, state.end_time.seconds) == (spinner, sb.Sandbox.RUNNING, 0)
    assert state.private_bytes > 100_000
    assert state.shared_bytes > 100_000
    assert [s.id for s in api.list().sandboxes] == [spinner, sleeper]
    waiting = api.sandboxes.WaitSandbox.future(sb.WaitSandboxRequest(id=sleeper), timeout=30)
    attached = api.attach(sleeper)
    attached.send(close_stdin=True)
    assert waiting.result().exit_status == 4
    assert attached.rest() == b""
    assert api.wait(sleeper) == waiting.result()
    killed = api.kill(spinner)
    assert (killed.state, killed.exit_status) == (sb.Sandbox.EXITED, 128 + 9)
    assert api.kill(spinner) == killed == api.wait(spinner) == api.sandbox(spinner)
    assert (killed.private_bytes, killed.shared_bytes) == (0, 0)
    assert not api.list().sandboxes
    assert [s.id for s in api.list(ended=True).sandboxes] == [spinner, sleeper]


def test_list_pages_and_filters(api):
    api.create("s", "echo ready >/dev/quark; read x")
    ids = [api.start("read x") for _ in range(3)] + [api.start(clone="s")]
    for size in (1, 2, 3, 4, 1000):
        found, token = [], ""
        while True:
            page = api.list(page_size=size, page_token=token)
            assert len(page.sandboxes) <= size
            found += [s.id for s in page.sandboxes]
            token = page.next_page_token
            if not token:
                break
        assert found == ids
    assert [s.id for s in api.list(snapshot="s").sandboxes] == ids[3:]
    # One that ends between two pages does not make the second begin anew.
    token = api.list(page_size=2).next_page_token
    api.kill(ids[1])
    assert [s.id for s in api.list(page_token=token).sandboxes] == ids[2:]
    for fields, field in (
        ({"page_size": 1001}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"page_token": "1-"}, "page_token"),
    ):
        with api.failure("INVALID_ARGUMENT") as f:
            api.list(**fields)
        assert f.fields == (field,)


def test_ended_ones_are_forgotten(make_daemon, connect):
    daemon = make_daemon("keep_ended = 2")
    api = connect(f"unix:{daemon.socket}", daemon)
    ids = [api.run("true").sandbox.id for _ in range(4)]
    deadline = time.monotonic() + 30
    while [s.id for s in api.list(ended=True).sandboxes] != ids[2:]:
        assert time.monotonic() < deadline
    with api.failure("NOT_FOUND"):
        api.sandbox(ids[0])


def cpu_ticks(daemon):
    """Of all sandboxes and helpers."""
    ticks = 0
    for pid in daemon.family():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks


def test_a_paused_sandbox_stands_still(api):
    sandbox = api.start("n=0; echo up; while read x; do n=$((n+1)); echo $n; done")
    spinner = api.start(SPIN)
    api.settled()
    before = cpu_ticks(api.daemon)
    deadline = time.monotonic() + 30
    while cpu_ticks(api.daemon) < before + 5:
        assert time.monotonic() < deadline, "it does not run"
    for one in (sandbox, spinner):
        assert api.pause(one).state == sb.Sandbox.PAUSED
        assert api.pause(one).state == sb.Sandbox.PAUSED
    assert [s.state for s in api.list().sandboxes] == [sb.Sandbox.PAUSED] * 2
    still = cpu_ticks(api.daemon)
    attached = api.attach(sandbox)
    attached.until(b"up\n")
    attached.send(stdin=b"x\n")
    time.sleep(0.4)
    assert cpu_ticks(api.daemon) <= still + 1
    assert attached.out == b""
    with api.failure("FAILED_PRECONDITION") as f:
        api.capture(sandbox, "s")
    assert (f.reason, f.exit_code) == ("SandboxStateError", 79)
    assert api.resume(sandbox).state == sb.Sandbox.RUNNING
    assert api.resume(sandbox).state == sb.Sandbox.RUNNING
    attached.until(b"1\n")
    assert api.kill(spinner).exit_status == 128 + 9
    for call in (api.pause, api.resume):
        with api.failure("FAILED_PRECONDITION") as f:
            call(spinner)
        assert f.reason == "SandboxStateError"


def test_pausing_again_and_again(api):
    """No order of pauses and resumes from several clients loses one."""
    sandbox = api.start(SPIN)
    calls = [
        method.future(request(id=sandbox), timeout=30)
        for _ in range(10)
        for method, request in (
            (api.sandboxes.PauseSandbox, sb.PauseSandboxRequest),
            (api.sandboxes.ResumeSandbox, sb.ResumeSandboxRequest),
        )
    ]
    for call in calls:
        call.result()
    assert api.pause(sandbox).state == sb.Sandbox.PAUSED
    assert api.resume(sandbox).state == sb.Sandbox.RUNNING
    assert api.kill(sandbox).state == sb.Sandbox.EXITED


def test_capture_of_a_running_sandbox(api):
    sandbox = api.start("n=0; while read x; do n=$((n+1)); echo $n:$x; done")
    attached = api.attach(sandbox)
    for i in (1, 2):
        attached.send(stdin=b"x\n")
        attached.until(b"%d:x\n" % i)
    messages = api.capture(sandbox, "s")
    assert messages[-1].snapshot == "s"
    assert all(m.frames_done <= m.frames_total for m in messages)
    attached.send(stdin=b"y\n")
    attached.until(b"3:y\n")  # it goes on
    assert (api.get("s").parent, api.get("s").trigger) == ("", "request")
    assert api.get("s").pause_us < 1_000_000
    for _ in range(2):
        assert api.run(clone="s", stdin=b"z\n").stdout == b"3:z\n"
    with api.failure("ALREADY_EXISTS") as f:
        api.capture(sandbox, "s")
    assert f.reason == "NameTakenError"
    with api.failure("INVALID_ARGUMENT") as f:
        api.capture(sandbox, "a/b")
    assert f.reason == "BadNameError"
    api.capture(sandbox, "again")
    assert api.run(clone="again", stdin=b"z\n").stdout == b"4:z\n"
    attached.send(close_stdin=True)
    attached.rest()
    with api.failure("FAILED_PRECONDITION") as f:
        api.capture(sandbox, "late")
    assert f.reason == "SandboxStateError"
    assert api.names() == ["again", "s"]


def test_a_clones_snapshot_is_a_layer(api):
    api.create("base")
    sandbox = api.start(clone="base", stdin=b"one\n")
    attached = api.attach(sandbox)
    attached.until(b"1:one\n")
    api.capture(sandbox, "layer")
    api.capture(sandbox, "flat", flat=True)
    attached.send(stdin=b"two\n")
    attached.until(b"2:two\n")
    api.capture(sandbox, "later")
    base, layer, flat, later = (api.get(name) for name in ("base", "layer", "flat", "later"))
    assert (layer.parent, flat.parent, later.parent) == ("base", "", "base")
    assert layer.bytes_stored < base.bytes_stored / 3
    # A layer on the layer.
    top = api.start(clone="layer", stdin=b"TWO\n")
    api.attach(top).until(b"2:TWO\n")
    api.capture(top, "top")
    assert api.get("top").parent == "layer"
    for name, said in (
        ("base", b"1:x\n"),
        ("layer", b"2:x\n"),
        ("flat", b"2:x\n"),
        ("later", b"3:x\n"),
        ("top", b"3:x\n"),
    ):
        assert api.run(clone=name, stdin=b"x\n").stdout == said, name
    api.collect()  # what `flat` was before it was flattened
    assert api.problems() == []


def test_two_captures_of_one_sandbox_at_a_time(api):
    sandbox = api.start("a=$(head -c 2000000 /dev/urandom | od); echo up; read x; echo ${#a}")
    attached = api.attach(sandbox)
    attached.until(b"up\n")
    calls = [
        api.sandboxes.CaptureSandbox(sb.CaptureSandboxRequest(id=sandbox, name=name), timeout=30) for name in ("a", "b")
    ]
    stored, refused = [], []
    for call in calls:
        try:
            stored.append(list(call)[-1].snapshot)
        except grpc.RpcError as e:
            refused.append(e.code().name)
    # The second may have come when the first was done.
    assert (stored, refused) in [(["a", "b"], []), (["a"], ["FAILED_PRECONDITION"]), (["b"], ["FAILED_PRECONDITION"])]
    assert api.names() == stored
    # And both later.
    api.capture(sandbox, "c")
    assert "c" in api.names()
    attached.send(stdin=b"\n")
    assert attached.rest().strip().isdigit()
    assert api.problems() == []


def test_a_replaced_snapshot_does_not_disturb_its_clones(api, cold_pager):
    """A clone whose image is not complete goes on from the snapshot that it was cloned from."""
    code = (
        "import os, sys\nf = os.open('/dev/quark', os.O_RDWR)\ntable = os.urandom(20 << 20)\nos.write(f, b'ready\\n')\n"
        "print('up', flush=True)\nsys.stdin.readline()\nprint(len(set(table[::64])))"
    )
    api.create("s", argv=["/usr/bin/python3.11", "-c", code])
    cold_pager(api.daemon)
    attached = api.attach(api.start(clone="s"))
    attached.until(b"up\n")
    api.delete("s")
    api.create("s")
    assert api.run(clone="s", stdin=b"x\n").stdout == b"1:x\n"
    attached.send(stdin=b"\n")
    assert attached.rest() == b"256\n"
    assert attached.ended.exit_status == 0
    api.collect()
    assert api.problems() == []
