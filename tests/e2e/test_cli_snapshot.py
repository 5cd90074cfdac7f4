"""`quark snapshot` and `quark store`, by the daemon and without one: the same results, messages and statuses."""

import json
import os
import pty
import subprocess

import pytest

PYTHON = "/usr/bin/python3.11"
BOTH_WAYS = True
READY = "import os; f = os.open('/dev/quark', os.O_RDWR); os.write(f, b'ready\\n')\n"
SHOWN = {
    "name", "id", "parent", "created_ns", "pages_total", "pages_zero", "pages_same", "pages_new", "bytes_stored", "memory_used_bytes",
    "cache_dropped_bytes", "ram_bytes", "pause_us", "argv", "rootfs", "trigger", "kernel", "ring", "working_set",
    "self_contained", "volume_slots",
}  # fmt: skip


def create(quark, name, code="print('on')", *options):
    done = quark("snapshot", "create", name, "--ready-file", *options, "--json", "--", PYTHON, "-c", READY + code)
    assert done.status == 0, done.err
    return json.loads(done.out.splitlines()[-1])


def names(quark, *options):
    return [s["name"] for s in json.loads(quark("snapshot", "list", *options, "--json").out)]


def one_line(done, status, *words):
    assert done.status == status, done
    assert done.out == ""
    assert done.err.count("\n") == 1, done.err
    for word in words:
        assert word in done.err


@pytest.fixture
def layered(quark, daemon):  # noqa: ARG001 - has to run
    """`base`, and `layer` on it: a capture of a clone, which only a daemon makes."""
    create(quark, "base", "import time, sys; x = os.urandom(1 << 20); print('on', flush=True); time.sleep(60)")
    sandbox = quark("run", "--detach", "--from-snapshot", "base").out.strip()
    assert quark("capture", sandbox, "layer").status == 0
    assert quark("kill", sandbox).status == 0
    return quark


def test_what_is_known(quark):
    created = create(quark, "one")
    assert set(created) == SHOWN
    assert json.loads(quark("snapshot", "show", "one", "--json").out) == created
    assert created["argv"][0] == PYTHON
    assert created["memory_used_bytes"] > created["bytes_stored"] > 0
    text = quark("snapshot", "show", "one").out
    assert created["id"] in text
    listed = json.loads(quark("snapshot", "list", "--json").out)
    assert listed == [{k: created[k] for k in listed[0]}]
    head, line = quark("snapshot", "list").out.splitlines()
    assert head.split() == ["NAME", "PAGES", "STORED", "CREATED", "PARENT"]
    assert line.split()[:2] == ["one", str(created["pages_total"])]


def test_lists_are_filtered_and_pages_hidden(quark):
    create(quark, "app-0")
    export = subprocess.run(quark.command("snapshot", "export", "app-0", "-"), capture_output=True, check=True).stdout
    for i in range(1, 4):
        assert quark("snapshot", "import", "-", "--name", f"app-{i}", stdin=export).status == 0
    create(quark, "other")
    assert names(quark) == ["app-0", "app-1", "app-2", "app-3", "other"]
    assert names(quark, "app-") == ["app-0", "app-1", "app-2", "app-3"]
    assert names(quark, "none") == []
    assert "no snapshot matches" in quark("snapshot", "list", "none").err


@pytest.mark.alone
def test_layers(layered):
    quark = layered
    for options in ([], ["--no-daemon"]):
        assert names(quark, *options, "--parent", "base") == ["layer"]
        one_line(quark("snapshot", "list", *options, "--parent", "absent"), 40, "absent")
        one_line(quark("snapshot", "rm", *options, "base"), 48, "layer")
    assert json.loads(quark("snapshot", "show", "layer", "--json").out)["parent"] == "base"
    assert quark("snapshot", "flatten", "layer").status == 0
    assert names(quark, "--parent", "base") == []
    assert quark("snapshot", "rm", "base").status == 0
    assert names(quark) == ["layer"]


@pytest.mark.alone
@pytest.mark.parametrize("options", [[], ["--no-daemon"]])
def test_cascade(layered, options):
    quark = layered
    assert quark("snapshot", "rm", *options, "base", "--cascade").status == 0
    assert names(quark) == []


def test_rm(quark):
    create(quark, "one")
    create(quark, "two")
    done = quark("snapshot", "rm", "one", "two", "--json")
    assert json.loads(done.out) == {"deleted": ["one", "two"]}
    one_line(quark("snapshot", "rm", "one"), 40, "one")
    assert json.loads(quark("store", "stats", "--json").out)["snapshots"] == 0


def test_export_and_import(quark, tmp_path):
    code = "print('restored')"
    before = create(quark, "one", code, "--self-contained")
    file = tmp_path / "one.quark"
    done = quark("snapshot", "export", "one", str(file), "--json")
    assert json.loads(done.out) == {"name": "one", "file": str(file), "bytes": file.stat().st_size}
    through = subprocess.run(quark.command("snapshot", "export", "one", "-"), capture_output=True, check=True).stdout
    assert through == file.read_bytes()
    one_line(quark("snapshot", "import", str(file)), 41, "one")
    assert quark("snapshot", "rm", "one").status == 0
    done = quark("snapshot", "import", str(file), "--json")
    after = json.loads(done.out)
    assert {k: after[k] for k in ("name", "id", "created_ns", "argv")} == {
        k: before[k] for k in ("name", "id", "created_ns", "argv")
    }
    assert quark("snapshot", "import", "-", "--name", "two", stdin=through).status == 0
    done = quark("run", "--from-snapshot", "two")
    assert (done.status, done.out) == (0, "restored\n"), done.err
    assert sorted(os.listdir(tmp_path)) == sorted(
        {"one.quark", *(p for p in os.listdir(tmp_path) if p.startswith("state"))}
    )


def test_export_and_import_of_what_is_bad(quark, tmp_path):
    create(quark, "one")
    file = tmp_path / "file"
    one_line(quark("snapshot", "export", "absent", str(file)), 40, "absent")
    assert not file.exists()
    one_line(quark("snapshot", "export", "one", "/does/not/exist"), 85, "/does/not/exist")
    one_line(quark("snapshot", "export", "one"), 2, "FILE")
    one_line(quark("snapshot", "import", "/does/not/exist"), 85, "/does/not/exist")
    one_line(quark("snapshot", "import", str(tmp_path)), 85, str(tmp_path))
    file.write_bytes(b"this is no snapshot")
    one_line(quark("snapshot", "import", str(file), "--name", "x"), 42)
    one_line(quark("snapshot", "import", "-", stdin=b""), 42)
    assert quark("snapshot", "export", "one", str(file)).status == 0, "in place of what was there"
    data = file.read_bytes()
    for cut in (1, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:cut])
        one_line(quark("snapshot", "import", str(file), "--name", "x"), 42)
    assert quark("snapshot", "import", str(file), "--name", "a/b").status == 49
    assert names(quark) == ["one"]
    assert [f for f in os.listdir(tmp_path) if "partial" in f] == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_export_to_a_full_device(quark):
    create(quark, "one")
    done = quark("snapshot", "export", "one", "/dev/full")
    assert done.status == 85, done
    assert "No space left" in done.err
    assert done.err.count("\n") == 1


def test_export_to_who_reads_no_more(quark):
    create(quark, "one")
    with subprocess.Popen(
        quark.command("snapshot", "export", "one", "-"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as export:
        export.stdout.read(10)
        export.stdout.close()
        assert (export.wait(60), export.stderr.read()) == (141, b"")


def test_warm_and_cool(quark):
    create(quark, "one", "x = bytes(1 << 20)")
    warmed = json.loads(quark("snapshot", "warm", "one", "--json").out)
    assert warmed[0]["name"] == "one"
    assert warmed[0]["image_bytes"] > 1 << 20
    stats = json.loads(quark("store", "stats", "--json").out)
    assert (stats["images"], stats["image_pages"] * 4096) == (1, warmed[0]["image_bytes"])
    assert stats["daemon"] is (quark.daemon is not None)
    assert quark("snapshot", "cool", "one").status == 0
    assert json.loads(quark("store", "stats", "--json").out)["images"] == 0
    for verb in ("warm", "cool", "flatten"):
        one_line(quark("snapshot", verb, "absent"), 40, "absent")
        one_line(quark("snapshot", verb), 2, "NAME")


def test_store(quark):
    assert quark("store", "fsck").err == "all is well\n"
    assert json.loads(quark("store", "gc", "--json").out)["bytes_freed"] == 0
    created = create(quark, "one")
    assert json.loads(quark("store", "fsck", "--json").out) == []
    stats = json.loads(quark("store", "stats", "--json").out)
    assert stats["store_bytes"] >= created["bytes_stored"]
    assert "store_bytes" in quark("store", "stats").out
    assert quark("store", "gc").out.startswith("0.0 MB given back: 0 snapshots")
    pack = max((quark.root / "domains/default/packs").iterdir(), key=lambda f: f.stat().st_size)
    pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    done = quark("store", "fsck")
    assert done.status == 42
    assert "1 damaged" in done.err
    assert pack.name in done.out
    problems = json.loads(quark("store", "fsck", "--json").out)
    assert set(problems[0]) == {"kind", "where", "what", "advice"}


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["snapshot"], 2, ["give one of create, list"]),
        (["snapshot", "nonsense"], 2, ["give one of create, list"]),
        (["snapshot", "list", "a", "b"], 2, ["PREFIX"]),
        (["snapshot", "show"], 2, ["NAME"]),
        (["snapshot", "show", "a", "b"], 2, ["NAME"]),
        (["snapshot", "rm", "a", "--", "b"], 2, ["NAME"]),
        (["snapshot", "create", "a/b", "--ready-file", "--", "/bin/true"], 49, ["a/b"]),
        (["snapshot", "create", "a", "--ready-after", "soon", "--", "/bin/true"], 2, ["soon"]),
        (["snapshot", "create", "a", "--ready-file", "--name", "x"], 2, ["--name"]),
        (["store"], 2, ["give one of gc, fsck, stats"]),
        (["store", "gc", "now"], 2, ["now"]),
        (["store", "fsck", "--depth=3"], 2, ["--depth"]),
        (["ps", "--all=1"], 2, ["--all"]),
        (["run", "--payload"], 2, ["--payload needs a value"]),
        (["run", "--timing", "--", "/bin/true"], 2, ["--timing"]),
        (["run", "--tty", "--", "/bin/true"], 2, ["--detach"]),
        (["run", "--from-snapshot", "x", "--prefetch", "all"], 2, ["all"]),
        (["nonsense"], 2, ["nonsense"]),
        (["--nonsense", "run"], 2, ["--nonsense"]),
        (["completion", "tcsh"], 2, ["tcsh"]),
        (["top", "--interval", "0"], 2, ["--interval"]),
        (["--domain", "a/b", "snapshot", "show", "x"], None, ["a/b"]),
        (["--no-daemon", "--key", "file:/does/not/exist", "snapshot", "show", "x"], 82, ["/does/not/exist"]),
        (["--no-daemon", "--key", "secret", "snapshot", "show", "x"], 82, ["file:PATH"]),
    ],
)
def test_one_line_and_a_status(quark, args, status, words):
    done = quark(*args)
    expected = status if status is not None else 76 if quark.daemon else 49
    one_line(done, expected, *words)
    as_json = quark("--json", *args)
    error = json.loads(as_json.err)
    assert (as_json.status, as_json.out, error["exit_code"]) == (expected, "", expected)
    assert f"quark: {error['message']}\n" == done.err
    assert error["class"].endswith("Error")


def test_errors_are_the_same_both_ways(quark):
    """The classes and the messages too, of what is found out on the other side."""
    create(quark, "one")
    cases = [
        ["snapshot", "show", "absent"],
        ["snapshot", "create", "one", "--ready-file", "--", "/bin/true"],
        ["snapshot", "create", "two", "--ready-file", "--", "/bin/true"],
        ["snapshot", "create", "two", "--ready-log", "x", "--rootfs", "/absent", "--", "/bin/true"],
        ["run", "--from-snapshot", "absent"],
        ["run", "-v", "/absent:/x", "--", "/bin/true"],
        ["snapshot", "warm", "absent"],
        ["snapshot", "export", "absent", "/tmp/never"],
    ]
    for case in cases:
        here, there = quark("--json", "--no-daemon", *case), quark("--json", *case)
        assert (here.status, here.err) == (there.status, there.err)
        assert here.status > 39


def test_the_captured_programs_streams_and_signals(quark):
    """It has those of the command, through a daemon too."""
    code = "import sys; print(sys.stdin.readline(), end=''); print('aside', file=sys.stderr)\n" + READY
    command = ("snapshot", "create", "one", "--ready-file", "--", PYTHON, "-u", "-c", code)
    done = quark(*command, stdin=b"typed\nmore\n")
    assert (done.status, done.out) == (0, "typed\n")
    assert done.err.startswith("aside\nsnapshot one: ")
    p = quark.start(
        "snapshot",
        "create",
        "two",
        "--ready-after",
        "100",
        "--",
        PYTHON,
        "-u",
        "-c",
        "print('up')\nimport time\ntime.sleep(99)",
    )
    assert p.stdout.readline() == b"up\n"
    p.send_signal(2)
    out, err = p.communicate(timeout=10)
    assert (p.returncode, out) == (71, b"")
    assert b"ended with status 130 before its capture point" in err
    assert names(quark) == ["one"]


def test_progress_on_a_terminal(quark):
    """A bar on standard error when that is a terminal, gone when the work is done; never on standard output."""
    code = "x = os.urandom(64 << 20)"
    create(quark, "big", "pass")
    ours, theirs = pty.openpty()
    command = quark.command(
        "snapshot", "create", "x", "--ready-file", "--", PYTHON, "-c", "import os; " + code + "\n" + READY
    )
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:
            break
        if not data:
            break
        text += data
    assert p.communicate()[0] == b""
    os.close(ours)
    assert p.returncode == 0, text
    assert b"capturing x" in text
    assert b"snapshot x: " in text


def test_progress_in_lines(quark):
    """Long work says now and then how far it is."""
    create(quark, "one")
    data = subprocess.run(quark.command("snapshot", "export", "one", "-"), capture_output=True, check=True).stdout
    p = quark.start("snapshot", "import", "-", "--name", "two")
    p.stdin.write(data[: len(data) // 2])
    p.stdin.flush()
    line = p.stderr.readline()
    assert line.startswith(b"quark: importing -: "), line
    out, err = p.communicate(data[len(data) // 2 :], timeout=20)
    assert (p.returncode, out) == (0, b"")
    assert err.count(b"importing") <= 3
    quiet = quark("snapshot", "import", "-", "--name", "three", "--json", stdin=data)
    assert quiet.err == ""


@pytest.mark.alone
def test_domains_and_keys(quark, tmp_path):
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_bytes(os.urandom(32))
    other.write_text(os.urandom(32).hex())
    secret = ["--domain", "secret", "--key", f"file:{key}"]
    done = quark(*secret, "snapshot", "create", "s", "--ready-file", "--", PYTHON, "-c", READY + "print('on')")
    assert done.status == 0, done.err
    assert quark(*secret, "run", "--from-snapshot", "s").out == "on\n"
    assert names(quark) == []
    assert [s["name"] for s in json.loads(quark("--domain", "secret", "snapshot", "list", "--json").out)] == ["s"]
    one_line(quark("--domain", "secret", "snapshot", "show", "s"), 47)
    one_line(quark("--domain", "secret", "--key", f"command:cat {other}", "snapshot", "show", "s"), 47)
    assert quark("--domain", "secret", "--key", f"command:cat {key}", "snapshot", "show", "s").status == 0


@pytest.mark.alone
def test_a_daemon_has_the_key(quark, make_daemon, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    make_daemon(f'[[domains]]\nname = "secret"\nkey = "file:{key}"\n')
    done = quark(
        "--domain", "secret", "snapshot", "create", "s", "--ready-file", "--", PYTHON, "-c", READY + "print('on')"
    )
    assert done.status == 0, done.err
    assert quark("--domain", "secret", "run", "--from-snapshot", "s").out == "on\n"
    assert names(quark) == []
    one_line(quark("--domain", "secret", "--key", f"file:{key}", "snapshot", "show", "s"), 2, "--no-daemon")
    one_line(quark("--domain", "absent", "snapshot", "list"), 76, "absent")
    one_line(quark("--domain", "absent", "run", "--", "/bin/true"), 76, "absent")
