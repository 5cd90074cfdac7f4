"""Standard streams of every kind: what a program sees of them is what it sees natively. Each case is a shell line, run with and without `quark run`."""

import os
import shlex
import subprocess

import pytest

BOTH_WAYS = True
SECONDS = 60
PYTHON = "/usr/bin/python3.11 -c "
SEEK = shlex.quote("import os; print(os.lseek(0, 3, 0), os.read(0, 2), os.pread(0, 2, 10), os.fstat(0).st_size)")
WRITE_BACK = shlex.quote(
    "import os; os.write(1, b'abcdef'); os.lseek(1, 2, 0); os.write(1, b'X'); os.ftruncate(1, 5); os.fsync(1)"
)
FLAGS = shlex.quote(
    "import fcntl, os\n"
    "for fd in range(3):\n"
    "    try: print(fcntl.fcntl(fd, fcntl.F_GETFL) & 0o2003, os.isatty(fd))\n"
    "    except OSError as e: print(e.errno)"
)
SIGNALS = shlex.quote("import signal; print(signal.getsignal(1), signal.getsignal(15))")
PIPE_READER = shlex.quote(
    "import asyncio, sys\n"
    "async def main():\n"
    "    reader = asyncio.StreamReader()\n"
    "    protocol = lambda: asyncio.StreamReaderProtocol(reader)\n"
    "    await asyncio.get_running_loop().connect_read_pipe(protocol, sys.stdin)\n"
    "    print(await reader.read())\n"
    "asyncio.run(main())"
)
CASES = {
    "process substitution": "$Q bash -c 'cat <(echo a) <(echo b)'",
    "dev stdin": "echo q | $Q cat /dev/stdin",
    "the offset of a file is shared inside": "$Q sh -c 'head -c 5; echo; cat' <f",
    "the offset of a file is shared outside": "($Q head -c 5; cat) <f",
    "a directory": "$Q cat <.; echo $?; $Q sh -c 'read x; echo $?' <.",
    "closed input": "$Q cat <&-; echo $?",
    "closed output": "$Q sh -c 'echo hi; echo $? >&2' >&-; echo $?",
    "closed errors": "$Q sh -c 'echo err >&2; echo $?' 2>&-",
    "all closed": "$Q sh -c 'exit 3' <&- >&- 2>&-; echo $?",
    "append": "echo one >g; $Q echo two >>g; $Q sh -c 'echo three; echo four' >>g; cat g",
    "full device": "$Q sh -c 'echo x' >/dev/full; echo $?",
    "seek, pread, stat": f"$Q {PYTHON}{SEEK} <f",
    "seek, truncate output": f"$Q {PYTHON}{WRITE_BACK} >g; cat g",
    "flags": f"$Q {PYTHON}{FLAGS} </dev/null 2>>g | cat",
    "read-write": f"$Q {PYTHON}{FLAGS} <>f 1<>g 2>&-; cat g",
    "no input object": f"$Q {PYTHON}'import sys; print(sys.stdin)' <&-",
    "nohup": f"nohup $Q {PYTHON}{SIGNALS} </dev/null 2>/dev/null | cat",
    "sort": "$Q sort <f; $Q tail -c 3 <f; $Q wc -c <f",
    "script": "$Q /usr/bin/python3.11 - <<END\nprint('from stdin')\nEND",
    "asyncio": f"(echo a; sleep 0.3; echo b) | $Q {PYTHON}{PIPE_READER}",
    "reopened": "$Q sh -c 'exec 3>&1; echo 3 >&3; echo A >>/dev/stdout; echo B >>/dev/stderr' 2>&1 | cat",
}


def outcome(line, cwd, prefix):
    (cwd / "f").write_bytes(b"0123456789abcdef")
    done = subprocess.run(
        ["bash", "-c", line.replace("$Q ", prefix)],
        cwd=cwd,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("line", CASES.values(), ids=CASES)
def test_as_natively(quark, tmp_path, line):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    native = outcome(line, here, "")
    assert outcome(line, there, shlex.join(quark.command("run", "--cwd", "/tmp", "--")) + " ") == native
