"""What went wrong for callers of the service, each as a caller meets it: odd requests, limits, names, ends of pagers."""

import fcntl
import os
import resource
import subprocess
import time

import pytest

READY = ("--ready-file", "--", "/bin/sh", "-c", "echo ready >/dev/quark; echo on")


def create(quark, name="s"):
    done = quark("snapshot", "create", name, *READY)
    assert done.status == 0, done.err


def end_pagers(quark):
    for pid in quark.pagers():
        os.kill(pid, 15)
    deadline = time.monotonic() + 20
    while quark.pagers():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_clone_that_comes_while_the_pager_ends_gets_the_next_one(quark):
    """The old one has let go of its socket and still holds the lock: the new one has to wait for that, not to give up."""
    create(quark)
    assert quark("run", "--from-snapshot", "s").out == "on\n"
    end_pagers(quark)
    lock = os.open(quark.root / "run" / "default" / "pager.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with quark.start("run", "--from-snapshot", "s") as clone:
        time.sleep(1)
        assert clone.poll() is None
        os.close(lock)
        out, err = clone.communicate(timeout=20)
    assert (clone.returncode, out) == (0, b"on\n"), err


def test_the_pager_has_no_limits_of_who_started_it(quark):
    create(quark)
    end_pagers(quark)

    def limited():
        resource.setrlimit(resource.RLIMIT_CPU, (1000, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        os.sched_setaffinity(0, {0})

    done = subprocess.run(
        quark.command("run", "--from-snapshot", "s"), preexec_fn=limited, capture_output=True, timeout=60, check=False
    )
    assert done.stdout == b"on\n", done.stderr
    (pager,) = quark.pagers()
    assert resource.prlimit(pager, resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY
    assert resource.prlimit(pager, resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert len(os.sched_getaffinity(pager)) == len(os.sched_getaffinity(0))


def test_the_quota_of_a_new_domain_holds_from_its_first_snapshot(make_daemon, quark):
    make_daemon('[[domains]]\nname = "small"\nquota = 100_000\n')
    done = quark("--domain", "small", "snapshot", "create", "s", *READY)
    assert done.status == 46, done.err
    assert quark("--domain", "small", "snapshot", "list").out == ""


@pytest.mark.parametrize("with_daemon", [False, True])
def test_a_capture_point_that_does_not_come(quark, make_daemon, with_daemon):
    if with_daemon:
        make_daemon()
    started = time.monotonic()
    done = quark("snapshot", "create", "s", "--ready-file", "--timeout", "1", "--", "/bin/sleep", "100")
    assert done.status == 71
    assert "within 1 s (--timeout)" in done.err
    assert done.err.count("\n") == 1
    assert time.monotonic() - started < 30
    assert quark("snapshot", "create", "s", "--timeout", "50", *READY).status == 0
    for text in ("0", "-1", "x", "nan", ""):
        assert quark("snapshot", "create", "t", "--timeout", text, *READY).status in ({2} if text else {0})


def test_names_that_are_nearly_right(quark):
    create(quark, "production")
    done = quark("run", "--from-snapshot", "prodcution")
    assert (done.status, done.err) == (40, "quark: snapshot 'prodcution' does not exist; did you mean production?\n")
    assert quark("snapshot", "ls").out == quark("snapshot", "list").out
    done = quark("snapshto", "list")
    assert done.status == 2
    assert "did you mean snapshot" in done.err
    done = quark("snapshot", "shwo", "x")
    assert "did you mean show" in done.err


@pytest.mark.parametrize("with_daemon", [False, True])
def test_long_names_come_back_in_part(quark, make_daemon, with_daemon):
    if with_daemon:
        make_daemon()
    create(quark)
    for command in (("run", "--from-snapshot", "n" * 100_000), ("snapshot", "rm", "n" * 100_000), ("n" * 100_000,)):
        done = quark(*command)
        assert done.status in {2, 40, 49}
        assert len(done.err) < 2000


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["-v", "/usr:/" + "t" * 5000], 63, "volume target"),
        (["-v", "/usr:/" + "t/" * 2500], 63, "volume target"),
        (["-v", "/usr:/a/../b"], 63, "without `..`"),
        (["--cwd", "/" + "c/" * 3000], 2, "working directory"),
        (["--ring", "other"], 2, "ring"),
    ],
)
def test_what_a_sandbox_cannot_start_with_is_said(quark, options, status, says):
    done = quark("run", *options, "--", "/bin/true")
    assert done.status == status, done.err
    assert done.err.count("\n") == 1
    assert says in done.err
    assert len(done.err) < 400


def test_a_ring_that_this_host_does_not_have(quark):
    from qvisor.host import hardware_kvm

    done = quark("run", "--ring", "ring3" if hardware_kvm() else "ring0", "--", "/bin/true")
    assert done.status == 2
    assert "leave --ring out" in done.err
    assert quark("run", "--ring", "ring0" if hardware_kvm() else "ring3", "--", "/bin/true").status == 0


def test_fsck_notices_that_the_catalogue_is_gone(quark):
    create(quark)
    end_pagers(quark)
    (quark.root / "domains" / "default" / "catalogue.db").unlink()
    done = quark("store", "fsck")
    assert done.status == 42
    assert "the catalogue is missing" in done.out


def test_callers_are_not_told_where_the_state_is(quark, make_daemon, connect):
    daemon = make_daemon()
    create(quark)
    api = connect(f"unix:{daemon.socket}", daemon)
    (page_map,) = (quark.root / "domains" / "default" / "maps").glob("*.map")
    page_map.unlink()
    with api.failure("DATA_LOSS") as failure:
        api.run(clone="s")
    assert str(quark.root) not in failure.message
    assert "the state directory" in failure.message


def test_a_long_regular_expression_is_refused(daemon, connect):
    api = connect(f"unix:{daemon.socket}", daemon)
    for pattern in ("x" * 100_000, "[a-z]?" * 50_000):
        started = time.monotonic()
        with api.failure("INVALID_ARGUMENT") as failure:
            api.create("s", ready_log=pattern)
        assert failure.fields == ("ready_log",)
        assert time.monotonic() - started < 5
        assert len(failure.message) < 300
