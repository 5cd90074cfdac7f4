"""The synchronous SDK: `quark.connect()`. Generated from aio.py by mk/sync_client.py (make docs): change that one."""

from __future__ import annotations

import contextlib
import queue
import sys
from typing import TYPE_CHECKING, Any

import grpc

from quark import api
from quark.api import Dependency, Garbage, Problem, Result, SandboxState, Snapshot
from quark.errors import DaemonLostError, QuarkError
from quark.functions import Exchange, Plan
from quark.snapshot.v1 import sandboxes_pb2 as sb
from quark.snapshot.v1 import snapshots_pb2 as sn
from quark.snapshot.v1 import statistics_pb2 as st
from quark.snapshot.v1.sandboxes_pb2_grpc import SandboxServiceStub
from quark.snapshot.v1.snapshots_pb2_grpc import SnapshotServiceStub
from quark.snapshot.v1.statistics_pb2_grpc import StatisticsServiceStub
from quark.store_errors import NameTakenError, SnapshotUnknownError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import BinaryIO, Self

    from quark.functions import Call


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as e:
        raise api.error_of(e) from None


def connect(
    target: str | None = None,
    *,
    root: str | None = None,
    domain: str = "",
    credentials: grpc.ChannelCredentials | None = None,
) -> Client:
    """A client of a daemon.

    Args:
        target: path of the daemon's socket, or gRPC target; default QUARK_DAEMON, or the socket of the state directory.
        root: state directory, for the default target.
        domain: sharing domain, for callers who may use several.
        credentials: for TCP: grpc.ssl_channel_credentials(ca, key, certificate).
    """
    return Client(api.target_of(target, root), domain=domain, credentials=credentials)


class Client:
    """A connection; use it in a `with`, or close it. Threads may share it.

    Every method may raise the QuarkError that the daemon raised, DaemonLostError, or, with a `timeout` in seconds, DeadlineError.
    """

    def __init__(self, target: str, *, domain: str = "", credentials: grpc.ChannelCredentials | None = None) -> None:
        self._channel = (
            grpc.secure_channel(target, credentials, api.OPTIONS)
            if credentials
            else grpc.insecure_channel(target, api.OPTIONS)
        )
        self._metadata = api.metadata(domain)
        self._snapshots = SnapshotServiceStub(self._channel)
        self._sandboxes = SandboxServiceStub(self._channel)
        self._statistics = StatisticsServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls under way are cancelled."""
        self._channel.close()

    def _call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        with _errors():
            return method(request, timeout=timeout, metadata=self._metadata)

    # ---- snapshots

    def create_snapshot(
        self,
        name: str,
        argv: Sequence[str],
        *,
        ready: str = "file",
        value: str | float = "",
        reseed: bool = True,
        self_contained: bool = False,
        timeout: float | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        on_output: Callable[[bytes, bytes], None] | None = None,
        **spec: Any,
    ) -> Snapshot:
        """Run a program to its capture point and store it.

        Args:
            name: of the snapshot.
            argv: program and arguments.
            ready: what the capture point is: "file" (the program writes to /dev/quark), "log" (a line matches `value`), "after" (`value` seconds).
            value: see `ready`.
            reseed: preload the library that makes OpenSSL and others reseed in clones (docs/clones.md).
            self_contained: with the content of the files that it depends on, so that it runs where these are gone.
            timeout: seconds; then nothing is stored.
            on_progress: called with (frames dealt with, all frames).
            on_output: called with what came on standard output and standard error.
            spec: env, cwd, rootfs, volumes, volume_slots, memory, disk, ring (quark.api.sandbox_spec), and cpus, pids, io,
                volume_user, allow_set_id as for `run`.
        """
        request = api.create_request(name, argv, spec, ready, value, reseed=reseed, self_contained=self_contained)
        with _errors():
            for m in self._snapshots.CreateSnapshot(request, timeout=timeout, metadata=self._metadata):
                if on_output and (m.stdout or m.stderr):
                    on_output(m.stdout, m.stderr)
                if on_progress and m.frames_total:
                    on_progress(m.frames_done, m.frames_total)
        return Snapshot.of(m.snapshot)

    def get_snapshot(self, name: str) -> Snapshot:
        """All that is known of one."""
        return Snapshot.of(self._call(self._snapshots.GetSnapshot, sn.GetSnapshotRequest(name=name)))

    def list_snapshots(self, prefix: str = "", *, parent: str = "", page_size: int = 0) -> Iterator[Snapshot]:
        """By name, page by page."""
        request = sn.ListSnapshotsRequest(name_prefix=prefix, parent=parent, page_size=page_size)
        while True:
            page = self._call(self._snapshots.ListSnapshots, request)
            for m in page.snapshots:
                yield Snapshot.of(m)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def delete_snapshot(self, name: str, *, cascade: bool = False) -> None:
        """Delete it; with `cascade` the layers on top of it too."""
        self._call(self._snapshots.DeleteSnapshot, sn.DeleteSnapshotRequest(name=name, cascade=cascade))

    def flatten_snapshot(self, name: str) -> Snapshot:
        """Make it independent of its parent."""
        return Snapshot.of(self._call(self._snapshots.FlattenSnapshot, sn.FlattenSnapshotRequest(name=name)))

    def export_snapshot(self, name: str, file: BinaryIO) -> int:
        """Write it with its chain to `file`; returns the bytes written."""
        written = 0
        with _errors():
            for m in self._snapshots.ExportSnapshot(sn.ExportSnapshotRequest(name=name), metadata=self._metadata):
                file.write(m.data)
                written += len(m.data)
        return written

    def import_snapshot(self, file: BinaryIO, name: str | None = None, *, host_paths: bool = False) -> Snapshot:
        """Read what `export_snapshot` wrote, under another name if one is given. With `host_paths` its clones may have the rootfs and volumes that it names."""
        return Snapshot.of(self._call(self._snapshots.ImportSnapshot, api.import_requests(file, name, host_paths)))

    def check_snapshot(self, name: str) -> list[Dependency]:
        """The files that it depends on, by path, and whether the daemon's host has them."""
        m = self._call(self._snapshots.CheckSnapshot, sn.CheckSnapshotRequest(name=name))
        return [Dependency.of(f) for f in m.files]

    def warm_snapshot(self, name: str, clones: int = 0) -> int:
        """Bring its image into memory and keep it there, and so many clones prepared, until it is cooled; the image's bytes."""
        return int(
            self._call(self._snapshots.WarmSnapshot, sn.WarmSnapshotRequest(name=name, clones=clones)).image_bytes
        )

    def cool_snapshot(self, name: str) -> None:
        """Let go of the image's memory."""
        self._call(self._snapshots.CoolSnapshot, sn.CoolSnapshotRequest(name=name))

    def collect_garbage(self) -> Garbage:
        """Give the space of deleted snapshots back."""
        m = self._call(self._snapshots.CollectGarbage, sn.CollectGarbageRequest())
        return Garbage(m.snapshots, m.busy, m.chunks, m.bytes_freed, m.leftovers)

    def check_store(self, on_progress: Callable[[int, int], None] | None = None) -> list[Problem]:
        """Read and verify the whole domain; `on_progress` is called with (bytes read, all bytes)."""
        with _errors():
            for m in self._snapshots.CheckStore(sn.CheckStoreRequest(), metadata=self._metadata):
                if on_progress and m.bytes_total:
                    on_progress(m.bytes_done, m.bytes_total)
        return [Problem(p.kind, p.where, p.what, p.advice) for p in m.problems]

    # ---- sandboxes

    def run(
        self,
        argv: Sequence[str] | None = None,
        *,
        snapshot: str | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        payload: str = "",
        stdin: bytes = b"",
        prefetch: bool = True,
        timeout: float | None = None,
        **spec: Any,
    ) -> Result:
        """Run a sandbox to its end: of the program `argv`, or a clone of `snapshot` with `args`, `env` and `payload`.

        A clone may have of its own: `cwd`, `memory` and `disk` (bytes, or a text like "2G"), and `volumes`, which fill its snapshot's slots:
        {"name": "/directory"} or {"name": ("/directory", "ro")}; under the path of a volume in the guest they take its place. `rootfs` is another root
        with the same files. An imported snapshot has what it names of the host only if that is given so, or with `host_paths=True`.

        Either may have limits of what it takes of the host: `cpus` (1.5 processors), `pids` (processes and threads of the host), `io` (bytes a second
        that are read from each disk, and as many that are written, or a text like "10M"). New files in read-write volumes are `volume_user`'s ("USER[:GROUP]"
        of the daemon's host; root's to choose, else who calls), with set-id bits only with `allow_set_id=True`.
        """
        request = api.run_request(
            argv, snapshot, args=args, env=env, payload=payload, prefetch=prefetch, wait=True, stdin=stdin, tty=False, spec=spec
        )  # fmt: skip
        return Result.of(self._call(self._sandboxes.RunSandbox, request, timeout))

    def start(
        self,
        argv: Sequence[str] | None = None,
        *,
        snapshot: str | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        payload: str = "",
        stdin: bytes = b"",
        prefetch: bool = True,
        tty: bool = False,
        **spec: Any,
    ) -> Sandbox:
        """Start a sandbox and leave it running; `stdin` is the beginning of its standard input."""
        request = api.run_request(
            argv, snapshot, args=args, env=env, payload=payload, prefetch=prefetch, wait=False, stdin=stdin, tty=tty, spec=spec
        )  # fmt: skip
        return Sandbox(self, self._call(self._sandboxes.RunSandbox, request).sandbox.id)

    def sandbox(self, sandbox_id: str) -> Sandbox:
        """A handle of a sandbox by its id."""
        return Sandbox(self, sandbox_id)

    def list_sandboxes(self, *, ended: bool = False, snapshot: str = "") -> Iterator[SandboxState]:
        """Oldest first, page by page; with `ended` those that have ended too."""
        request = sb.ListSandboxesRequest(ended=ended, snapshot=snapshot)
        while True:
            page = self._call(self._sandboxes.ListSandboxes, request)
            for m in page.sandboxes:
                yield SandboxState.of(m)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def statistics(self) -> st.Statistics:
        """Of the daemon and the domain."""
        statistics: st.Statistics = self._call(self._statistics.GetStatistics, st.GetStatisticsRequest())
        return statistics

    def warm(
        self,
        name: str,
        function: str,
        *,
        python: str = sys.executable,
        serializer: str = "json",
        depends: Sequence[str] = (),
        replace: bool = True,
        **spec: Any,
    ) -> Function:
        """A Python function, imported in a sandbox once and captured there as snapshot `name`, to call in clones.

        A snapshot of that name is used if it is this function as it is now: the function's name, its source and that of the modules beside it
        which it imports, the interpreter and the versions of its packages, and the options are all the same. Otherwise it is made anew.

        Args:
            name: of the snapshot.
            function: `FILE.py:FUNCTION` or `MODULE:FUNCTION`; it may be asynchronous.
            python: interpreter, as the sandbox sees it.
            serializer: of arguments and results: "json", or "pickle". Unpickling runs what a result says: only for functions that are trusted.
            depends: more files and directories whose change makes it another function (models, modules that are imported by name).
            replace: False: raise FunctionChangedError instead of making it anew.
            spec: as for `create_snapshot`.

        Raises:
            FunctionError: it could not be imported; the message has the traceback.
            NameTakenError: the snapshot is no warmed function.
        """
        plan = Plan(name, function, python, serializer, depends, spec)
        while True:
            try:
                if plan.is_held_by(self.get_snapshot(name), replace=replace):
                    return Function(self, name, serializer)
                self.delete_snapshot(name)
            except SnapshotUnknownError:
                pass
            try:
                self.create_snapshot(name, plan.argv, on_output=plan.on_output, **spec)
            except NameTakenError:
                continue  # somebody else was faster
            except QuarkError as e:
                raise plan.failed(e) from None


class Function:
    """A warmed function: every call runs in a clone of its own."""

    def __init__(
        self, client: Client, snapshot: str, serializer: str, timeout: float | None = None, **options: Any
    ) -> None:
        self._client = client
        self.snapshot = snapshot
        self._serializer = serializer
        self._timeout = timeout
        self._options = options

    def options(self, *, timeout: float | None = None, **options: Any) -> Function:
        """The same function with other options of its calls: `timeout` in seconds; env, cwd, memory, disk, volumes as for a clone (`Client.run`)."""
        return Function(self._client, self.snapshot, self._serializer, timeout, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it; its result.

        Raises:
            FunctionError: it raised, or its sandbox ended without an answer.
            DeadlineError: it took longer than its timeout; its sandbox was ended.
        """
        exchange, attachment = self._exchange(args, kwargs, whole=False)
        if exchange.returned:
            attachment.close()
            return exchange.result()
        return self._finish(exchange, attachment).result

    def call(self, *args: Any, **kwargs: Any) -> Call:
        """As calling it, with what it wrote beside its result."""
        return self._finish(*self._exchange(args, kwargs, whole=True))

    def _exchange(self, args: Any, kwargs: Any, *, whole: bool) -> tuple[Exchange, Attachment]:
        """A clone, until it has returned or ended; with `whole` until it has ended."""
        exchange = Exchange(self.snapshot, self._serializer, args, kwargs)
        sandbox = self._client.start(snapshot=self.snapshot, stdin=exchange.first, **self._options)
        try:
            attachment = sandbox.attach(self._timeout)
            for piece in exchange.more:
                attachment.write(piece)
            for stream, data in attachment:
                if reply := exchange.feed(stream, data):
                    attachment.write(reply)
                if not whole and exchange.returned:
                    break
        except BaseException:
            with contextlib.suppress(QuarkError):
                sandbox.kill()
            raise
        return exchange, attachment

    @staticmethod
    def _finish(exchange: Exchange, attachment: Attachment) -> Call:
        if attachment.ended is None:
            raise DaemonLostError("the daemon ended during the call; it can be made again when the daemon is back")
        return exchange.finish(attachment.ended, attachment.lost_bytes)


class Sandbox:
    """A handle of a sandbox."""

    def __init__(self, client: Client, sandbox_id: str) -> None:
        self._client = client
        self._stub = client._sandboxes  # noqa: SLF001 - the two are one
        self.id = sandbox_id

    def state(self) -> SandboxState:
        """As it is now."""
        return SandboxState.of(self._client._call(self._stub.GetSandbox, sb.GetSandboxRequest(id=self.id)))  # noqa: SLF001

    def wait(self, timeout: float | None = None) -> SandboxState:
        """Until it has ended."""
        request = sb.WaitSandboxRequest(id=self.id)
        return SandboxState.of(self._client._call(self._stub.WaitSandbox, request, timeout))  # noqa: SLF001

    def kill(self) -> SandboxState:
        """End it now."""
        return SandboxState.of(self._client._call(self._stub.KillSandbox, sb.KillSandboxRequest(id=self.id)))  # noqa: SLF001

    def pause(self) -> SandboxState:
        """Stop its processor."""
        return SandboxState.of(self._client._call(self._stub.PauseSandbox, sb.PauseSandboxRequest(id=self.id)))  # noqa: SLF001

    def resume(self) -> SandboxState:
        """Let it go on."""
        return SandboxState.of(self._client._call(self._stub.ResumeSandbox, sb.ResumeSandboxRequest(id=self.id)))  # noqa: SLF001

    def capture(
        self,
        name: str,
        *,
        flat: bool = False,
        self_contained: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Snapshot:
        """Store it as snapshot `name` while it goes on; of a clone, as a layer on its snapshot unless `flat`.

        `self_contained`: with the content of the files that it depends on.
        """
        request = sb.CaptureSandboxRequest(id=self.id, name=name, flat=flat, self_contained=self_contained)
        with _errors():
            for m in self._stub.CaptureSandbox(request, metadata=self._client._metadata):  # noqa: SLF001
                if on_progress and m.frames_total:
                    on_progress(m.frames_done, m.frames_total)
        return self._client.get_snapshot(name)

    def attach(self, timeout: float | None = None) -> Attachment:
        """Its standard streams, for so many seconds at most."""
        return Attachment(self, timeout)


class Attachment:
    """The standard streams of a sandbox: iterate over ("stdout" or "stderr", bytes); `ended` is its state after the last of them."""

    def __init__(self, sandbox: Sandbox, timeout: float | None = None) -> None:
        self._requests: queue.SimpleQueue[sb.AttachSandboxRequest | None] = queue.SimpleQueue()
        self._requests.put(sb.AttachSandboxRequest(id=sandbox.id))
        stub, metadata = sandbox._stub, sandbox._client._metadata  # noqa: SLF001
        self._call = stub.AttachSandbox(self._outgoing(), timeout=timeout, metadata=metadata)
        self.ended: SandboxState | None = None
        self.lost_bytes = 0

    def _outgoing(self) -> Iterator[sb.AttachSandboxRequest]:
        while (request := self._requests.get()) is not None:
            yield request

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        with _errors():
            for m in self._call:
                self.lost_bytes += m.lost_bytes
                kind = m.WhichOneof("output")
                if kind == "ended":
                    self.ended = SandboxState.of(m.ended)
                    self._requests.put(None)
                elif kind is not None:
                    yield kind, getattr(m, kind)

    def write(self, data: bytes) -> None:
        """To its standard input."""
        self._requests.put(sb.AttachSandboxRequest(stdin=data))

    def close_stdin(self) -> None:
        """End of its standard input."""
        self._requests.put(sb.AttachSandboxRequest(close_stdin=True))

    def resize(self, rows: int, columns: int) -> None:
        """Size of its terminal."""
        self._requests.put(sb.AttachSandboxRequest(window_size=sb.WindowSize(rows=rows, columns=columns)))

    def signal(self, number: int) -> None:
        """To its program."""
        self._requests.put(sb.AttachSandboxRequest(signal=number))

    def close(self) -> None:
        """Leave it; it goes on."""
        self._call.cancel()  # type: ignore[no-untyped-call]
        self._requests.put(None)
