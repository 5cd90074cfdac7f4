"""Tools that people look at a machine with: they run, and what they say is the sandbox's own."""

import json

import pytest

MEMORY_MIB = 384


def say(quark, *command):
    done = quark("run", "--memory", f"{MEMORY_MIB}M", "--", *command)
    assert (done.status, done.err) == (0, ""), done.err
    return done.out


def test_memory_and_processors(quark):
    assert say(quark, "/bin/cat", "/sys/fs/cgroup/memory.max") == f"{MEMORY_MIB << 20}\n"
    assert say(quark, "/usr/bin/nproc") == "1\n"
    cpu = {line["field"]: line["data"] for line in json.loads(say(quark, "/usr/bin/lscpu", "-J"))["lscpu"]}
    assert cpu["CPU(s):"] == "1"
    total, used = map(int, say(quark, "/usr/bin/free", "-m").splitlines()[1].split()[1:3])
    assert total == MEMORY_MIB
    assert 0 < used < MEMORY_MIB


@pytest.mark.parametrize(
    "command", [["top", "-b", "-n", "1"], ["ps", "aux"], ["uptime"], ["vmstat"], ["pmap", "1"], ["w"]]
)
def test_procps(quark, command):
    out = say(quark, "/bin/sh", "-c", " ".join(command))
    assert out.strip()
    if command[0] in {"top", "ps"}:
        assert command[0] in out.rpartition("COMMAND")[2]


def test_cpu_time_is_counted_where_it_is_used(quark):
    code = "n = 0\nwhile n < 8_000_000: n += 1\nprint(open('/proc/self/stat').read().split()[13])"
    assert int(say(quark, "/usr/bin/python3.11", "-c", code)) > 5
