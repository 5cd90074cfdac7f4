"""Fuzzes the daemon's session socket (docs/abi.md, "Session"): requests in pieces, with descriptors, and commands to sandboxes that run.

The daemon goes on; what it cannot serve it answers with one error in one line; sandboxes, processes and descriptors go with their sessions.
"""

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

from mutations import Run
from sockets import (
    Descriptors,
    check_log,
    connect,
    count_fds,
    is_one_error,
    mutate_fields,
    mutate_messages,
    receive,
    rest,
    send,
    until,
)

from quark.clone_request import clone_fields
from quark.sizes import Limits
from qvisor.spec import Changes, SandboxSpec

CONFIG = "pool = 1\nprepared = 0\nsandboxes_max = 8\noutput_bytes = 4096\nkeep_ended = 8\n"
PIECE = 32 << 10
CHECK_EVERY = 32  # inputs
FDS_MORE = 64  # of the daemon: of its pool, its logs, its store
SPEC = SandboxSpec(("/bin/sh", "-c", "true"), env={"A": "B"}, memory=64 << 20).to_strings()
HEAD = ["run", "", "attached", Limits().to_string()]
REQUESTS = [
    [*HEAD, "cold", *SPEC],
    [*HEAD[:2], "detached", HEAD[3], "cold", *SPEC],
    [*HEAD, "create", "made", "file", "", "", *SPEC],
    [*HEAD, *clone_fields("nothing", "working-set", "payload", ["x"], {"K": "V"}, Changes())],
]


class Daemon:
    """A real one, on an empty state directory."""

    def __init__(self, folder: Path) -> None:
        config, self.log = folder / "snapshotd.toml", folder / "log"
        config.write_text(CONFIG)
        with self.log.open("w") as log:
            command = [sys.executable, "-P", "-m", "snapshotd.daemon", "--config", config, "--root", folder / "state"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.socket = folder / "state" / "run" / "session.sock"
        until(self.answers, "no daemon")
        self.fds = count_fds(self.process.pid)

    def answers(self) -> bool:
        """Whether a request that is none is answered as such."""
        assert self.process.poll() is None, "the daemon ended: " + self.log.read_text(errors="replace")[-2000:]
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), connect(self.socket) as sock:
            send(sock, [b"begin", b"0"])
            return is_one_error(receive(sock))
        return False

    def check(self) -> None:
        assert self.answers()
        until(lambda: count_fds(self.process.pid) <= self.fds + FDS_MORE, "descriptors of the daemon pile up")
        check_log(self.log)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def converse(
    sock, request: bytes, begin: list[bytes], fds: list[int], commands: list[tuple[list[bytes], list[str]]]
) -> None:
    """One session; what is answered is right."""
    whole = begin == [b"begin", str(len(request)).encode()] and request
    with contextlib.suppress(BrokenPipeError, ConnectionError):  # hung up on
        send(sock, begin, fds)
        for at in range(0, len(request), PIECE):
            sock.send(request[at : at + PIECE])
    answers = [receive(sock)] if whole else []
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        for fields, _ in commands:
            send(sock, fields)
    answers += rest(sock)
    for answer in filter(None, answers):
        assert answer[0] in {b"started", b"ended", b"progress", b"stopped"} or is_one_error(answer), answer
    assert not whole or answers[0], "no word to a request that is whole"


def one(run: Run, daemon: Daemon, descriptors: Descriptors) -> None:
    rng = run.rng
    fields = [text.encode("utf-8", "surrogateescape") for text in rng.choice(REQUESTS)]
    kinds = [] if fields[2].startswith(b"detached") else ["null", "null", "null"]
    what = rng.randrange(8)
    for _ in range(0 if what == 0 else rng.choice((1, 1, 2, 4))):
        fields = mutate_fields(rng, fields)
    request = b"\0".join(fields)
    begin = [b"begin", str(len(request)).encode()]
    if what == 1:
        [(begin, kinds)] = mutate_messages(rng, [(begin, kinds)])[:1]
    commands = []
    if what < 3:
        commands = mutate_messages(rng, [([b"signal", b"15"], []), ([b"signal", b"9"], [])])
    with run.allowing("session", repr((begin, kinds, request, commands)).encode()):
        with connect(daemon.socket) as sock:
            converse(sock, request, begin, descriptors.of(kinds), commands)
        if run.count % CHECK_EVERY == 0:
            daemon.check()


def main() -> None:
    run = Run()
    descriptors = Descriptors()
    with tempfile.TemporaryDirectory(prefix="quark-fuzz-", dir="/dev/shm") as folder:
        daemon = Daemon(Path(folder))
        try:
            while run.goes_on():
                one(run, daemon, descriptors)
            with run.allowing("end", b""):
                daemon.check()
        finally:
            daemon.close()


if __name__ == "__main__":
    main()
