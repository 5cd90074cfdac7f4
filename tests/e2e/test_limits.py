"""What a sandbox takes of the host is limited: processors, processes, memory and input and output by control groups."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from quark.snapshot.v1 import sandboxes_pb2 as sb
from qvisor import cgroup

PYTHON = "/usr/bin/python3.11"
SPIN = "print('begins', flush=True)\nwhile True: pass"
HOST = cgroup.find()
TICKS = os.sysconf("SC_CLK_TCK")
needs = pytest.mark.skipif(bool(HOST.missing), reason=f"no control groups here: {HOST.missing}")


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def groups():
    """Names of all groups of sandboxes."""
    return {p.name for tree in HOST.trees for p in Path(tree.path).glob(f"{cgroup.GROUP}*")}


def group_of(pid):
    """The group of a process, the same in all trees."""
    names = {line.rpartition("/")[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}
    (name,) = [n for n in names if n.startswith(cgroup.GROUP)]
    assert all(str(pid) in (Path(t.path) / name / "cgroup.procs").read_text().split() for t in HOST.trees)
    return name


def setting(name, controller, unified, old):
    """What stands in the file of this name in version 2, or in the other one in version 1."""
    (tree,) = [t for t in HOST.trees if controller in t.controllers]
    return (Path(tree.path) / name / (unified if tree.unified else old)).read_text().split()


def begun(process):
    assert process.stdout.readline() == b"begins\n", process.stderr.read()


@needs
def test_processors(quark):
    """A twentieth of one, however many threads QVisor has."""
    p = quark.start("run", "--cpus", "0.05", "--", PYTHON, "-c", SPIN)
    try:
        begun(p)
        before, begin = cpu_seconds(p.pid), time.monotonic()
        time.sleep(2)
        used = cpu_seconds(p.pid) - before
        assert used <= 0.05 * (time.monotonic() - begin) + 0.1
    finally:
        p.kill()
        p.communicate()


@needs
def test_settings_without_a_daemon(quark):
    p = quark.start("run", "--memory", "256M", "--cpus", "1.5", "--pids", "40", "--io", "10M", "--", PYTHON, "-c", SPIN)
    try:
        begun(p)
        name = group_of(p.pid)
        limit = cgroup.memory_limit(256 << 20)
        assert [int(x) for x in setting(name, "memory", "memory.max", "memory.limit_in_bytes")] == [
            limit // 4096 * 4096
        ]
        assert setting(name, "pids", "pids.max", "pids.max") == ["40"]
        assert setting(name, "cpu", "cpu.max", "cpu.cfs_quota_us")[0] == "150000"
        assert any(str(10 << 20) in word for word in setting(name, "io", "io.max", "blkio.throttle.read_bps_device"))
    finally:
        p.kill()
        p.communicate()
    assert quark("run", "--cpus", "1", "--", "/bin/true").status == 0
    assert name not in groups()  # nobody was left to remove it: the next one did


@needs
def test_processes(quark):
    """Of the host: what the guest starts is none of them."""
    done = quark("run", "--pids", "16", "--", "/bin/sh", "-c", "for i in $(seq 50); do sleep 1 & done; wait; echo done")
    assert (done.status, done.out) == (0, "done\n"), done


@needs
def test_create_without_a_daemon(quark):
    before = groups()
    script = "echo ready >/dev/quark; cat /dev/quark"
    done = quark("snapshot", "create", "s", "--cpus", "1", "--ready-file", "--", "/bin/sh", "-c", script)
    assert done.status == 0, done
    assert not groups() - before
    done = quark("run", "--from-snapshot", "s", "--cpus", "0.5", "--pids", "64")
    assert (done.status, '"clone": true' in done.out) == (0, True), done


@pytest.mark.parametrize(
    "options",
    [
        ("--cpus", "0"),
        ("--cpus", "-1"),
        ("--cpus", "nan"),
        ("--cpus", "inf"),
        ("--cpus", "5000"),
        ("--cpus", "x"),
        ("--pids", "1"),
        ("--pids", "1.5"),
        ("--io", "1K"),
        ("--io", "M"),
        ("--io", "-5M"),
    ],
)
def test_bad_options(quark, options):
    done = quark("run", *options, "--", "/bin/true")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("quark: --")
    assert done.err.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a mount namespace")
def test_what_cannot_be_had_is_an_error(quark):
    command = ["unshare", "-m", "sh", "-c", 'umount -a -t cgroup,cgroup2; exec "$@"', "sh"]
    for option in (("--cpus", "1"), ("--pids", "64"), ("--io", "1M")):
        words = [*command, *quark.command("run", *option, "--", "/bin/true")]
        done = subprocess.run(words, capture_output=True, timeout=60, check=False, text=True)
        assert (done.returncode, done.stdout) == (57, ""), done
        assert done.stderr.startswith(f"quark: {option[0]} needs the control group controller")
        assert done.stderr.count("\n") == 1
    doctor = subprocess.run(
        [*command, *quark.command("doctor")], capture_output=True, timeout=60, check=False, text=True
    )
    assert "--  limits" in doctor.stdout
    assert doctor.returncode == 0, doctor


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a mount namespace")
def test_files_in_memory_have_no_disk(quark):
    """A rootfs in memory needs no limit of input and output, and one on nothing known cannot have one."""
    script = 'mount -t tmpfs none /mnt && mkdir /mnt/bin && cp /bin/busybox /mnt/bin/sh 2>/dev/null || cp /bin/dash /mnt/bin/sh; exec "$@"'
    words = [
        "unshare",
        "-m",
        "sh",
        "-c",
        script,
        "sh",
        *quark.command("run", "--io", "1M", "-v", "/mnt:/m:ro", "--", "/bin/ls", "/m"),
    ]
    done = subprocess.run(words, capture_output=True, timeout=60, check=False, text=True)
    assert (done.returncode, done.stdout) in {(0, "bin\n"), (57, "")}, done


# ---- with a daemon


@needs
def test_settings_of_the_daemon(api, quark):
    spin = api.start(argv=[PYTHON, "-c", SPIN], spec={"memory_bytes": 128 << 20}, limits=sb.Limits(cpus=0.05, pids=32))
    plain = api.start("sleep 1000")
    state = api.sandbox(spin)
    assert (state.limits.cpus, state.limits.pids, state.limits.io_bytes) == (0.05, 32, 0)
    assert state.host_memory_limit_bytes == cgroup.memory_limit(128 << 20)
    assert 0 < state.host_memory_bytes <= state.host_memory_limit_bytes
    assert not api.sandbox(plain).HasField("limits")
    assert api.sandbox(plain).host_memory_limit_bytes == cgroup.memory_limit(1 << 30)
    found = {name: setting(name, "cpu", "cpu.max", "cpu.cfs_quota_us")[0] for name in groups()}
    (name,) = [n for n, quota in found.items() if quota == "5000"]
    assert setting(name, "pids", "pids.max", "pids.max") == ["32"]
    # Not one that waits for its request: that has no limits yet.
    pids = [setting(n, "pids", "pids.max", "pids.max") for n in groups()]
    assert [str(cgroup.PIDS)] in pids
    before, begin = api.sandbox(spin).cpu_microseconds, time.monotonic()
    time.sleep(2)
    assert api.sandbox(spin).cpu_microseconds - before <= (0.05 * (time.monotonic() - begin) + 0.1) * 1e6
    shown = quark("ps").out
    assert "0.05cpu 32pids" in shown, shown
    api.kill(spin)
    api.until(lambda: name not in groups(), "its group is gone")
    api.kill(plain)


def test_fields_of_the_api(api):
    for limits, field in (
        (sb.Limits(cpus=1e9), "limits.cpus"),
        (sb.Limits(cpus=-1), "limits.cpus"),
        (sb.Limits(cpus=float("nan")), "limits.cpus"),
        (sb.Limits(pids=1), "limits.pids"),
        (sb.Limits(io_bytes=1), "limits.io_bytes"),
    ):
        with api.failure("INVALID_ARGUMENT") as failure:
            api.run("true", limits=limits)
        assert failure.fields == (field,)


def test_switched_off(make_daemon, connect, quark):
    daemon = make_daemon('cgroup = "none"\n')
    api = connect(f"unix:{daemon.socket}", daemon)
    before = groups()
    assert api.sandbox(api.start("sleep 1000")).host_memory_limit_bytes == 0
    assert not groups() - before
    with api.failure("FAILED_PRECONDITION") as failure:
        api.run("true", limits=sb.Limits(cpus=1))
    assert (failure.reason, failure.exit_code) == ("LimitsError", 57)
    done = quark("run", "--cpus", "1", "--", "/bin/true")
    assert done.status == 57, done
    assert "switches control groups off" in done.err


@needs
def test_a_daemon_that_was_killed_leaves_nothing_for_long(make_daemon, connect):
    daemon = make_daemon()
    api = connect(f"unix:{daemon.socket}", daemon)
    api.start("sleep 1000")
    family = daemon.family()
    mine = {n for n in groups() if int(n.removeprefix(cgroup.GROUP).partition("-")[0]) in family}
    assert mine
    daemon.kill()
    api.until(lambda: not any(Path(f"/proc/{p}").exists() for p in family), "its sandboxes are gone")
    make_daemon()
    assert not mine & groups()


@needs
def test_the_limit_of_memory_is_not_in_the_way(api, tmp_path):
    """Guest memory to the last page, a volume with much more than that, and a capture meanwhile."""
    code = (
        "import mmap, os\n"
        "held = []\n"
        "try:\n"
        "    while True:\n"
        "        m = mmap.mmap(-1, 1 << 20); m[:] = b'x' * (1 << 20); held.append(m)\n"
        "        if len(held) == 60: break\n"
        "except (OSError, MemoryError): pass\n"
        "print('full', flush=True)\n"
        "with open('/v/f', 'wb', 0) as f:\n"
        "    for n in range(300): f.write(os.urandom(1 << 20)); held[n % len(held)][:] = os.urandom(1 << 20)\n"
        "print('written', os.stat('/v/f').st_size >> 20, flush=True)\n"
    )
    volume = sb.Volume(source=str(tmp_path), target="/v")
    sandbox = api.start(argv=[PYTHON, "-c", code], spec={"memory_bytes": 128 << 20, "volumes": [volume]})
    attached = api.attach(sandbox)
    attached.until(b"full\n")
    api.capture(sandbox, "s")
    attached.until(b"written 300\n")
    attached.rest()
    assert api.wait(sandbox).exit_status == 0


@needs
def test_nothing_is_left(api):
    with api.nothing_left():
        before = len(groups())
        for _ in range(5):
            api.run("true", limits=sb.Limits(cpus=1))
        api.until(lambda: len(groups()) == before, "the pool's groups are as many as before")


@needs
def test_the_daemon_takes_its_groups_along(make_daemon, connect):
    daemon = make_daemon()
    api = connect(f"unix:{daemon.socket}", daemon)
    api.start("sleep 1000")
    family = daemon.family()
    mine = {n for n in groups() if int(n.removeprefix(cgroup.GROUP).partition("-")[0]) in family}
    assert mine
    daemon.process.terminate()
    assert daemon.process.wait(30) == 0
    assert not mine & groups()
