"""SandboxService (proto/quark/snapshot/v1/sandboxes.proto)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from quark.errors import FieldError, QuarkError
from quark.snapshot.v1 import sandboxes_pb2 as sb
from quark.snapshot.v1.sandboxes_pb2_grpc import SandboxServiceServicer
from snapshotd.daemon import convert
from snapshotd.daemon.rpc import Service, stream, unary
from snapshotd.daemon.sandbox import STARTING
from snapshotd.daemon.snapshots import give_up
from snapshotd.daemon.waiting import first_of
from snapshotd.store.errors import BadNameError
from snapshotd.store.layout import check_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from snapshotd.daemon.config import Domain
    from snapshotd.daemon.sandbox import Sandbox

INPUT_HIGH_WATER = 1 << 20


class SandboxService(Service, SandboxServiceServicer):
    """The running side of the API."""

    def _job(self, domain: Domain, request: sb.RunSandboxRequest) -> dict[str, Any]:
        source, limits = request.WhichOneof("source"), convert.limits_of(request.limits)
        if source == "spec":
            return self.manager.cold_job(domain, convert.spec_of(request.spec), limits)
        if source != "clone":
            raise FieldError("source", "is missing; give spec or clone")
        clone = request.clone
        try:
            check_name(clone.snapshot, "snapshot")
        except BadNameError as e:
            e.field = "clone.snapshot"
            raise
        return self.manager.clone_job(
            domain,
            clone.snapshot,
            list(clone.args),
            dict(clone.env),
            clone.payload,
            prefetch=not clone.no_prefetch,
            changes=convert.changes_of(clone),
            limits=limits,
        )

    @unary
    async def RunSandbox(self, domain: Domain, request: sb.RunSandboxRequest) -> sb.RunSandboxResponse:  # noqa: N802 - the service definition's name
        """Start one; with `wait`, to its end."""
        job = self._job(domain, request)
        job["confine"] += convert.access_of(request.volume_access)
        sandbox = await self.manager.run(domain, job, tty=request.tty)
        streams = sandbox.streams
        assert streams is not None  # noqa: S101 - for the type checker
        if request.stdin:
            streams.write(request.stdin)
        if request.wait or request.close_stdin:
            streams.close_input()
        try:
            while sandbox.state == STARTING and not sandbox.ended.is_set():
                await first_of(sandbox.state_changed, sandbox.ended)
        except BaseException:
            sandbox.kill()
            raise
        if request.wait:
            await self.manager.finish(sandbox)
        if sandbox.error is not None:
            raise sandbox.error
        answer = sb.RunSandboxResponse(sandbox=convert.sandbox_message(sandbox, memory=False))
        if request.wait:
            streams.stdout.trim()
            streams.stderr.trim()
            answer.stdout, answer.stderr = bytes(streams.stdout.data), bytes(streams.stderr.data)
            answer.output_truncated = bool(streams.stdout.dropped or streams.stderr.dropped)
        return answer

    @unary
    async def GetSandbox(self, domain: Domain, request: sb.GetSandboxRequest) -> sb.Sandbox:  # noqa: N802
        """One of them."""
        return convert.sandbox_message(self.manager.get(domain, request.id))

    @unary
    async def ListSandboxes(self, domain: Domain, request: sb.ListSandboxesRequest) -> sb.ListSandboxesResponse:  # noqa: N802
        """A page of them, oldest first."""
        size = convert.page_size(request.page_size)
        found = [
            s
            for s in self.manager.sandboxes.values()
            if s.domain == domain.name
            and (request.ended or not s.ended.is_set())
            and request.snapshot in {"", s.snapshot}
        ]
        if request.page_token:
            start, _, last = request.page_token.partition("-")
            if not start.isdecimal() or not last:
                raise FieldError("page_token", "is not a token that ListSandboxes gave")
            found = [s for s in found if (s.start_ns, s.id) > (int(start), last)]
        token = f"{found[size - 1].start_ns}-{found[size - 1].id}" if len(found) > size else ""
        return sb.ListSandboxesResponse(
            sandboxes=[convert.sandbox_message(s) for s in found[:size]], next_page_token=token
        )

    @unary
    async def WaitSandbox(self, domain: Domain, request: sb.WaitSandboxRequest) -> sb.Sandbox:  # noqa: N802
        """Until its end."""
        sandbox = self.manager.get(domain, request.id)
        await sandbox.ended.wait()
        return convert.sandbox_message(sandbox)

    @unary
    async def KillSandbox(self, domain: Domain, request: sb.KillSandboxRequest) -> sb.Sandbox:  # noqa: N802
        """End it."""
        sandbox = self.manager.get(domain, request.id)
        sandbox.kill()
        await sandbox.ended.wait()
        return convert.sandbox_message(sandbox)

    @unary
    async def PauseSandbox(self, domain: Domain, request: sb.PauseSandboxRequest) -> sb.Sandbox:  # noqa: N802
        """Stop its processor."""
        sandbox = self.manager.get(domain, request.id)
        await sandbox.pause(on=True)
        return convert.sandbox_message(sandbox)

    @unary
    async def ResumeSandbox(self, domain: Domain, request: sb.ResumeSandboxRequest) -> sb.Sandbox:  # noqa: N802
        """Let it go on."""
        sandbox = self.manager.get(domain, request.id)
        await sandbox.pause(on=False)
        return convert.sandbox_message(sandbox)

    @stream
    async def CaptureSandbox(  # noqa: N802
        self, domain: Domain, request: sb.CaptureSandboxRequest
    ) -> AsyncIterator[sb.CaptureSandboxResponse]:
        """Store it; it goes on."""
        sandbox = self.manager.get(domain, request.id)
        store = await self.stores.open(domain)
        if sandbox.capture is not None and sandbox.capture.given_up:
            await sandbox.capture.cleaned.wait()  # an instant
        await asyncio.to_thread(store.check_name, request.name)
        capture = sandbox.begin_capture(request.name, flat=request.flat, self_contained=request.self_contained)
        try:
            while not capture.finished:
                await capture.changed.wait()
                capture.changed.clear()
                yield sb.CaptureSandboxResponse(frames_done=capture.done, frames_total=capture.total)
        except (asyncio.CancelledError, GeneratorExit):
            capture.given_up = True
            await give_up(capture, store, request.name)
            capture.cleaned.set()
            self.stores.collect_soon(domain)
            raise
        if capture.error is not None:
            if sandbox.ended.is_set():
                self.stores.collect_soon(domain)  # what its process could not remove any more
            raise capture.error
        yield sb.CaptureSandboxResponse(snapshot=request.name)

    @stream
    async def AttachSandbox(  # noqa: N802
        self, domain: Domain, requests: AsyncIterator[sb.AttachSandboxRequest]
    ) -> AsyncIterator[sb.AttachSandboxResponse]:
        """Input in, output out, to its end. A client that leaves lets it go on."""
        first = await anext(aiter(requests), None)
        if first is None or not first.id:
            raise FieldError("id", "is missing; the first request names the sandbox")
        sandbox = self.manager.get(domain, first.id)
        streams = sandbox.streams
        if streams is None:
            raise FieldError("id", "this sandbox's streams belong to the command that started it")
        reader = asyncio.create_task(self._feed(sandbox, first, requests))
        input_ended = asyncio.Event()
        reader.add_done_callback(lambda _: input_ended.set())
        positions = [0, 0]
        try:
            while True:
                sent = False
                for i, s in enumerate((streams.stdout, streams.stderr)):
                    data, lost, positions[i] = s.since(positions[i])
                    if data:
                        sent = True
                        yield (
                            sb.AttachSandboxResponse(stderr=data, lost_bytes=lost)
                            if i
                            else sb.AttachSandboxResponse(stdout=data, lost_bytes=lost)
                        )
                if input_ended.is_set() and not reader.cancelled() and (error := reader.exception()) is not None:
                    raise error
                if sent:
                    continue
                if sandbox.ended.is_set() and streams.drained.is_set():
                    break
                waits = [streams.changed, streams.drained if sandbox.ended.is_set() else sandbox.ended]
                await first_of(*waits, *(() if input_ended.is_set() else (input_ended,)))
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError, QuarkError):
                await reader
        yield sb.AttachSandboxResponse(ended=convert.sandbox_message(sandbox))

    @staticmethod
    async def _feed(
        sandbox: Sandbox, request: sb.AttachSandboxRequest, requests: AsyncIterator[sb.AttachSandboxRequest]
    ) -> None:
        """Take the client's input."""
        streams = sandbox.streams
        assert streams is not None  # noqa: S101 - for the type checker
        while True:
            kind = request.WhichOneof("input")
            if kind == "stdin":
                streams.write(request.stdin)
                while streams.input_waiting > INPUT_HIGH_WATER:
                    await first_of(streams.changed, sandbox.ended)
                    if sandbox.ended.is_set():
                        return
            elif kind == "close_stdin":
                streams.close_input()
            elif kind == "window_size":
                streams.resize(request.window_size.rows & 0xFFFF, request.window_size.columns & 0xFFFF)
            elif kind == "signal":
                sandbox.signal(request.signal)
            following = await anext(aiter(requests), None)
            if following is None:
                return
            request = following
