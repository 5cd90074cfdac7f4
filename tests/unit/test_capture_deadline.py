"""A storer that says nothing any more, or does not notice that it was given up, is ended; what happens then is as if it had been killed."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys

import pytest

from quark.errors import CaptureError
from snapshotd.daemon import capture as captures
from snapshotd.daemon.lifecycles import Capture as Life
from snapshotd.daemon.pool import Process

SECONDS = 30
IDLE = "import sys, time; print(flush=True); time.sleep(1000)"
ORIGIN = type("Origin", (), {"spec": {}, "parent": None, "known": (-1, 0, 0)})()
JOB = dict.fromkeys(("root", "domain", "key", "name", "flat", "self_contained", "trigger", "create"), "")


class Pool:
    """Its storer is a process that does nothing, and what is said for it."""

    def __init__(self):
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.setblocking(False)
        self.said = os.dup(theirs.fileno())
        with theirs:
            self.process = subprocess.Popen([sys.executable, "-c", IDLE], stdin=theirs.fileno(), stdout=subprocess.PIPE)
        self.process.stdout.read(1)

    async def storer(self):
        return Process(self.process.pid, self.sock, os.pidfd_open(self.process.pid))

    def say(self, event):
        os.write(self.said, json.dumps({"event": event, "done": 1, "total": 2}).encode())

    def only_it_speaks(self):
        os.close(self.said)
        self.said = -1

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.sock.close()
        if self.said >= 0:
            os.close(self.said)


async def stall(steps, *, cancel=False):
    """The capture, when its storer has gone, which said `steps` once it was ready, and then nothing."""
    with contextlib.closing(Pool()) as pool:
        capture = captures.Capture()
        order = asyncio.create_task(capture.order(pool, JOB, ORIGIN, ()))
        sandbox, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with sandbox, theirs:
            if steps:
                pool.say("ready")
                await order
                capture.hand_over(sandbox)
            for step in steps:
                pool.say(step)
            pool.only_it_speaks()
            if cancel:
                while capture.life not in {Life.ASKED, Life.STORING}:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0)
                capture.cancel()
            async with asyncio.timeout(SECONDS):
                await capture.gone.wait()
            await asyncio.wait([order])
            order.exception()
        assert pool.process.wait(SECONDS) == -9
        return capture


@pytest.mark.parametrize("steps", [[], ["still"], ["still", "progress"]], ids=["asked", "still", "storing"])
@pytest.mark.parametrize("cancel", [False, True])
def test_it_is_ended(monkeypatch, steps, cancel):
    monkeypatch.setattr(captures, "SILENT_SECONDS", SECONDS * 10 if cancel else 1)
    monkeypatch.setattr(captures, "GIVE_UP_SECONDS", 0.1)
    capture = asyncio.run(stall(steps, cancel=cancel))
    assert capture.finished
    assert isinstance(capture.error, CaptureError)
    assert str(capture.error) == captures.KILLED
