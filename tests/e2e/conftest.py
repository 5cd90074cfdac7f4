"""A client of the daemon's API that sees messages and statuses as they are on the wire."""

import contextlib
import os
import queue
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from quark.snapshot.v1 import sandboxes_pb2 as sb
from quark.snapshot.v1 import snapshots_pb2 as sn
from quark.snapshot.v1 import statistics_pb2 as st
from quark.snapshot.v1.sandboxes_pb2_grpc import SandboxServiceStub
from quark.snapshot.v1.snapshots_pb2_grpc import SnapshotServiceStub
from quark.snapshot.v1.statistics_pb2_grpc import StatisticsServiceStub

SECONDS = 30
SLOW_FILES = Path(__file__).with_name("slow_files.py")
# Counts lines of its input; the count is what a clone goes on from.
COUNTER = "n=0; echo ready >/dev/quark; while read x; do n=$((n+1)); echo $n:$x; done; exit 3"


def until(condition, what, seconds=SECONDS):
    """Await a condition; returns its true value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.005)
    return value


@dataclass
class Failure:
    """How a call failed, with its google.rpc details."""

    code: str = ""
    message: str = ""
    reason: str = ""
    exit_code: int = 0
    advice: str = ""
    fields: tuple[str, ...] = ()

    def fill(self, e):
        self.code, self.message = e.code().name, e.details() or ""
        status = rpc_status.from_call(e)
        for detail in status.details if status else ():
            info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            if detail.Unpack(info):
                assert info.domain == "quark"
                self.reason, self.advice = info.reason, info.metadata["advice"]
                self.exit_code = int(info.metadata["exit_code"])
            elif detail.Unpack(request):
                self.fields = tuple(v.field for v in request.field_violations)


class Attached:
    """The two directions of AttachSandbox."""

    def __init__(self, api, sandbox_id, **options):
        self.requests = queue.SimpleQueue()
        self.send(id=sandbox_id)
        self.call = api.sandboxes.AttachSandbox(iter(self.requests.get, None), timeout=SECONDS, **options)
        self.out, self.err = bytearray(), bytearray()
        self.lost = 0
        self.ended = None

    def send(self, **fields):
        self.requests.put(sb.AttachSandboxRequest(**fields))

    def step(self):
        m = next(self.call)
        self.lost += m.lost_bytes
        self.out += m.stdout
        self.err += m.stderr
        if m.WhichOneof("output") == "ended":
            self.ended = m.ended

    def until(self, text):
        """Read until standard output has it, and forget what came up to there."""
        while text not in self.out:
            self.step()
            assert self.ended is None, (text, self.out, self.ended)
        self.out = self.out.partition(text)[2]

    def rest(self):
        while self.ended is None:
            self.step()
        self.requests.put(None)
        assert next(self.call, None) is None, "something came after the end"
        return self.out

    def leave(self):
        self.call.cancel()
        self.requests.put(None)


class Api:
    """A channel to a daemon and its three services."""

    def __init__(self, target, daemon=None, credentials=None):
        self.daemon = daemon
        self.target = str(target)
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = (
            grpc.secure_channel(self.target, credentials, options)
            if credentials
            else grpc.insecure_channel(self.target, options)
        )
        self.snapshots = SnapshotServiceStub(self.channel)
        self.sandboxes = SandboxServiceStub(self.channel)
        self.statistics = StatisticsServiceStub(self.channel)

    until = staticmethod(until)

    def close(self):
        self.channel.close()

    @staticmethod
    @contextlib.contextmanager
    def failure(code=None):
        """The block has to fail, with this status code; what it failed with."""
        failure = Failure()
        with pytest.raises(grpc.RpcError) as e:
            yield failure
        failure.fill(e.value)
        assert code in {None, failure.code}, failure

    # ---- snapshots

    def create(self, name, code=COUNTER, *, argv=None, spec=None, metadata=None, **fields):
        """The snapshot of a shell script, or of argv."""
        message = sb.SandboxSpec(argv=argv or ["/bin/sh", "-c", code], **(spec or {}))
        request = sn.CreateSnapshotRequest(name=name, spec=message, **fields)
        return list(self.snapshots.CreateSnapshot(request, timeout=SECONDS, metadata=metadata))[-1].snapshot

    def get(self, name):
        return self.snapshots.GetSnapshot(sn.GetSnapshotRequest(name=name), timeout=SECONDS)

    def names(self, **fields):
        found = self.snapshots.ListSnapshots(sn.ListSnapshotsRequest(**fields), timeout=SECONDS).snapshots
        return [s.name for s in found]

    def delete(self, name, *, cascade=False):
        self.snapshots.DeleteSnapshot(sn.DeleteSnapshotRequest(name=name, cascade=cascade), timeout=SECONDS)

    def export(self, name):
        stream = self.snapshots.ExportSnapshot(sn.ExportSnapshotRequest(name=name), timeout=SECONDS)
        return b"".join(m.data for m in stream)

    def import_(self, data, name="", piece=200_000, metadata=None):
        pieces = [data[i : i + piece] for i in range(0, len(data), piece)] or [b""]
        requests = [sn.ImportSnapshotRequest(name=name if i == 0 else "", data=d) for i, d in enumerate(pieces)]
        return self.snapshots.ImportSnapshot(iter(requests), timeout=SECONDS, metadata=metadata)

    def warm(self, name):
        return self.snapshots.WarmSnapshot(sn.WarmSnapshotRequest(name=name), timeout=SECONDS).image_bytes

    def gc(self):
        return self.snapshots.CollectGarbage(sn.CollectGarbageRequest(), timeout=SECONDS)

    def collect(self):
        """Collect until nobody reads what was deleted: the pager hears of a clone's end a moment later than the client."""
        until(lambda: self.gc().busy == 0, "deleted snapshots are not read any more")

    def problems(self):
        *_, last = self.snapshots.CheckStore(sn.CheckStoreRequest(), timeout=SECONDS)
        found = last.problems
        return [(p.kind, p.where, p.what) for p in found]

    def numbers(self, metadata=None):
        return self.statistics.GetStatistics(st.GetStatisticsRequest(), timeout=SECONDS, metadata=metadata)

    # ---- sandboxes

    @staticmethod
    def request(code=None, *, argv=None, clone=None, args=(), payload="", env=None, spec=None, **fields):
        """RunSandboxRequest of a shell script, of argv, or of a clone."""
        if clone is not None:
            return sb.RunSandboxRequest(
                clone=sb.CloneRequest(snapshot=clone, args=args, payload=payload, env=env or {}), **fields
            )
        message = sb.SandboxSpec(argv=argv or ["/bin/sh", "-c", code], env=env or {}, **(spec or {}))
        return sb.RunSandboxRequest(spec=message, **fields)

    def run(self, code=None, *, metadata=None, **fields):
        """To its end."""
        request = self.request(code, wait=True, **fields)
        return self.sandboxes.RunSandbox(request, timeout=SECONDS, metadata=metadata)

    def start(self, code=None, *, metadata=None, **fields):
        """Its id."""
        return self.sandboxes.RunSandbox(
            self.request(code, **fields), timeout=SECONDS, metadata=metadata
        ).sandbox.id  # fmt: skip

    def sandbox(self, sandbox_id):
        return self.sandboxes.GetSandbox(sb.GetSandboxRequest(id=sandbox_id), timeout=SECONDS)

    def list(self, **fields):
        return self.sandboxes.ListSandboxes(sb.ListSandboxesRequest(**fields), timeout=SECONDS)

    def kill(self, sandbox_id):
        return self.sandboxes.KillSandbox(sb.KillSandboxRequest(id=sandbox_id), timeout=SECONDS)

    def wait(self, sandbox_id):
        return self.sandboxes.WaitSandbox(sb.WaitSandboxRequest(id=sandbox_id), timeout=SECONDS)

    def pause(self, sandbox_id):
        return self.sandboxes.PauseSandbox(sb.PauseSandboxRequest(id=sandbox_id), timeout=SECONDS)

    def resume(self, sandbox_id):
        return self.sandboxes.ResumeSandbox(sb.ResumeSandboxRequest(id=sandbox_id), timeout=SECONDS)

    def capture(self, sandbox_id, name, *, flat=False, metadata=None):
        request = sb.CaptureSandboxRequest(id=sandbox_id, name=name, flat=flat)
        return list(self.sandboxes.CaptureSandbox(request, timeout=SECONDS, metadata=metadata))

    def attach(self, sandbox_id, **options):
        return Attached(self, sandbox_id, **options)

    # ---- what is left behind

    def footprint(self):
        """(descriptors of the daemon, its live descendants, files of the domain's store), when nothing runs."""
        where = self.daemon.root / "domains" / "default"
        # The catalogue and the locks are no leftovers.
        files = sorted(p.name for p in where.rglob("*") if p.parent != where and p.is_file())
        descriptors = len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))
        return descriptors, len(self.daemon.family()), files

    def settled(self):
        """The footprint once the pool is full and nothing has changed for a while."""
        until(lambda: (self.numbers().pool_idle, self.numbers().pool_prepared) == (2, 0), "the pool is full")
        last, since = self.footprint(), time.monotonic()
        deadline = since + SECONDS
        while time.monotonic() - since < 0.15 and time.monotonic() < deadline:
            time.sleep(0.01)
            if (now := self.footprint()) != last:
                last, since = now, time.monotonic()
        return last

    @contextlib.contextmanager
    def nothing_left(self):
        """After the block there is no process, no descriptor and no file more than before it."""
        before = self.settled()
        yield
        until(lambda: self.footprint() == before, lambda: (before, self.footprint(), self.names(), self.problems()), 15)
        assert self.problems() == []
        assert self.gc().leftovers == 0


@pytest.fixture
def connect():
    """Makes clients."""
    made = []

    def make(target, *args):
        made.append(Api(target, *args))
        return made[-1]

    yield make
    for api in made:
        api.close()


@pytest.fixture
def api(daemon, connect):
    """A client of the daemon of `quark`."""
    return connect(f"unix:{daemon.socket}", daemon)


@pytest.fixture
def cold_pager():
    """Starts a pager that brings in nothing that nobody asked for."""
    started = []

    def start(daemon):
        command = [sys.executable, "-P", "-m", "snapshotd.pager", str(daemon.root), "--no-fill"]
        started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        until((daemon.root / "run" / "default" / "pager.sock").exists, "the pager listens")
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


class SlowFiles:
    """A directory with a file that answers when it is let."""

    def __init__(self, where, operations):
        self.where = where
        self.held = where.with_name(where.name + ".held")
        where.mkdir()
        command = [sys.executable, SLOW_FILES, where, *operations]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.said = self.server.stdout.readline().decode()

    def hold(self):
        self.held.touch()

    def release(self):
        self.held.unlink(missing_ok=True)

    def close(self):
        self.release()
        self.server.communicate()


@pytest.fixture
def slow_files(tmp_path):
    """Mounts some, with the operations that can be held up."""
    mounted = []

    def mount(*operations):
        files = SlowFiles(tmp_path / f"slow{len(mounted)}", operations)
        mounted.append(files)
        if files.said != "mounted\n":
            pytest.skip(f"no FUSE here: {files.said}")
        return files

    yield mount
    for files in mounted:
        files.close()
