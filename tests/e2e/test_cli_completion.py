"""Shell completion and --help, both from the table of commands; completion in a real bash (and zsh and fish, where they are)."""

import importlib
import shutil
import subprocess
from pathlib import Path

import pytest

from quark.cli import table

READY = "import os; f = os.open('/dev/quark', os.O_RDWR); os.write(f, b'ready\\n')"
BASH = """
eval "$({quark} completion bash)"
quark() {{ {quark} "$@"; }}
COMP_WORDS=({words})
COMP_CWORD=$(({count} - 1))
COMP_LINE="${{COMP_WORDS[*]}}"
COMP_POINT=${{#COMP_LINE}}
_quark 2>/dev/null
((${{#COMPREPLY[@]}} == 0)) || printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def bash(quark):
    def run(*words):
        quoted = " ".join(f"'{w}'" for w in ("quark", "--root", str(quark.root), *words))
        text = BASH.format(quark=quark.command()[0], words=quoted, count=len(words) + 3)
        done = subprocess.run(["bash", "--norc", "-c", text], capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")[:-1]

    return run


@pytest.fixture
def named(quark):
    for name in ("warmed", "warehouse", "other"):
        done = quark("snapshot", "create", name, "--ready-file", "--", "/usr/bin/python3.11", "-c", READY)
        assert done.status == 0, done.err


def test_commands(bash):
    assert bash("sn") == ["snapshot"]
    assert {"run", "ps", "top", "snapshot", "store", "completion"} <= set(bash(""))
    assert "complete" not in bash("")
    assert set(bash("store", "")) == {"gc", "fsck", "stats"}
    assert bash("snapshot", "fl") == ["flatten"]


def test_options_and_their_values(bash, tmp_path):
    assert bash("run", "--from") == ["--from-snapshot"]
    assert "--cascade" in bash("snapshot", "rm", "--")
    assert "--cascade" not in bash("run", "--")
    assert bash("run", "--ring", "") == ["auto", "ring0", "ring3"]
    assert bash("completion", "f") == ["fish"]
    (tmp_path / "directory").mkdir()
    (tmp_path / "document").touch()
    assert bash("run", "--rootfs", f"{tmp_path}/d") == [f"{tmp_path}/directory"]
    assert set(bash("run", "--", f"{tmp_path}/d")) == {f"{tmp_path}/directory", f"{tmp_path}/document"}
    assert bash("run", "/bin/sh", "--from") == [], "the program's own"


@pytest.mark.parametrize("way", ["alone", "daemon"])
@pytest.mark.usefixtures("named")
def test_snapshot_names(bash, request, way):
    if way == "daemon":
        request.getfixturevalue("daemon")
    assert set(bash("snapshot", "show", "war")) == {"warmed", "warehouse"}
    assert bash("run", "--from-snapshot", "o") == ["other"]
    assert set(bash("snapshot", "rm", "other", "")) == {"warmed", "warehouse", "other"}
    assert bash("snapshot", "list", "--parent", "oth") == ["other"]


def test_sandbox_ids(quark, daemon, bash):
    assert daemon.answers()
    sandbox = quark("run", "-d", "--", "/bin/sleep", "60").out.strip()
    assert bash("kill", "") == [sandbox]
    assert quark("kill", sandbox).status == 0
    assert bash("attach", "") == []


def test_nothing_to_complete_is_no_noise(bash):
    assert bash("kill", "") == []
    assert bash("snapshot", "show", "") == []
    assert bash("nonsense", "") == []


@pytest.mark.usefixtures("named")
def test_a_typed_tab(quark, terminal):
    """In an interactive bash, with readline."""
    t = terminal(["/bin/bash", "--norc", "--noprofile", "-i"])
    path = Path(quark.command()[0]).parent
    t.write(
        f'PATH={path}:$PATH; export QUARK_ROOT={quark.root}; eval "$(quark completion bash)"; echo re""ady\n'.encode()
    )
    t.until(b"ready")
    t.write(b"quark snapshot sh\tothe\t")
    t.until(b"show other ")
    t.write(b"--json | head -c 14\n")
    t.until(b'{"name": "othe')
    t.write(b"exit\n")
    t.end()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_valid(quark, shell):
    script = quark("completion", shell).out
    assert "complete --" in script
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(set(table.COMMANDS) - table.HIDDEN))
def test_help_tells_every_option(quark, name):
    done = quark(*name.split(), "--help")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"usage: quark {name}")
    for option in table.options_of(table.COMMANDS[name]):
        assert f"  {option.name}" in done.out
    assert max(map(len, done.out.splitlines())) <= 120
    assert quark("--help", *name.split()).out == done.out


def test_help(quark):
    overview = quark("--help").out
    for name in table.COMMANDS:
        if name not in table.HIDDEN:
            assert f"  {name.split()[0]} " in overview
    group = quark("snapshot", "--help").out
    assert all(f"  {name.split()[1]} " in group for name in table.COMMANDS if name.startswith("snapshot "))
    done = quark()
    assert (done.status, done.out, done.err) == (2, "", overview)


def test_every_command_is_there():
    for command in table.COMMANDS.values():
        module, _, function = command.module.partition(":")
        assert callable(getattr(importlib.import_module(f"quark.cli.{module}"), function))


SLOW_IMPORTS = "grpc argparse pydantic asyncio rich socket signal json re enum dataclasses typing pathlib functools collections types"


def loaded(quark, args):
    interpreter = Path(quark.command()[0]).with_name("python")
    done = subprocess.run(
        [interpreter, "-IS", "-X", "importtime", *quark.command(*args)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


STARTS = pytest.mark.parametrize("args", [["run", "--", "/bin/true"], ["run", "--from-snapshot", "warmed"]])


@STARTS
@pytest.mark.usefixtures("named", "daemon")
def test_the_fast_path_loads_little(quark, args):
    """Start-up time is most of what a clone costs."""
    names = loaded(quark, args)
    assert "quark.session" in names
    assert not names & {*SLOW_IMPORTS.split(), "qvisor._native"}
    assert len(names) < 60, names


@STARTS
@pytest.mark.usefixtures("named")
def test_without_a_daemon_too(quark, args):
    names = loaded(quark, args)
    assert "snapshotd.start" in names
    assert not names & set(SLOW_IMPORTS.split())
    assert len(names) < 70, names
