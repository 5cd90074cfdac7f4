"""SnapshotService (proto/quark/snapshot/v1/snapshots.proto)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import functools
from typing import TYPE_CHECKING, BinaryIO, cast

from quark.errors import FieldError, QuarkError
from quark.snapshot.v1 import snapshots_pb2 as sn
from quark.snapshot.v1.snapshots_pb2_grpc import SnapshotServiceServicer
from snapshotd import dependencies
from snapshotd.daemon import convert
from snapshotd.daemon.pipe import Abandoned, Pipe, Steps, in_thread
from snapshotd.daemon.rpc import Service, stream, unary
from snapshotd.daemon.waiting import first_of, set_within
from snapshotd.metadata import Metadata
from snapshotd.trigger import compile_pattern

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from snapshotd.daemon.capture import Capture
    from snapshotd.daemon.config import Domain
    from snapshotd.daemon.sandbox import Sandbox
    from snapshotd.store import SnapshotInfo, Store

EXPORT_BYTES = 1 << 20
CANCEL_SECONDS = 10.0


class SnapshotService(Service, SnapshotServiceServicer):
    """The store's side of the API."""

    def full(self, store: Store, name: str) -> sn.Snapshot:
        """All that is known of a snapshot. Blocks."""
        info = store.get(name)
        return convert.snapshot_message(info, Metadata.load(info.meta), working_set=store.working_set(name) is not None)

    async def _store(self, domain: Domain) -> Store:
        return await self.stores.open(domain)

    @stream
    async def CreateSnapshot(  # noqa: N802 - the service definition's name
        self, domain: Domain, request: sn.CreateSnapshotRequest
    ) -> AsyncIterator[sn.CreateSnapshotResponse]:
        """Run to the capture point and store."""
        spec = convert.spec_of(request.spec)
        spec.reseed = not request.no_reseed
        kind = request.WhichOneof("trigger") or "ready_file"
        trigger = {
            "ready_file": ("file", ""),
            "ready_log": ("log", request.ready_log),
            "ready_after_seconds": ("after", repr(request.ready_after_seconds)),
        }[kind]
        if kind == "ready_log":
            try:
                compile_pattern(request.ready_log)
            except ValueError as e:
                raise FieldError("ready_log", str(e)) from e
        if kind == "ready_after_seconds" and not 0 <= request.ready_after_seconds < 86400:
            raise FieldError("ready_after_seconds", "is not a number of seconds below a day")
        store = await self._store(domain)
        await asyncio.to_thread(store.check_name, request.name)
        job = {
            **self.manager.cold_job(domain, spec, convert.limits_of(request.limits)),
            "trigger": trigger,
            "name": request.name,
        }
        job["self_contained"] = request.self_contained
        job["confine"] += convert.access_of(request.volume_access)
        sandbox = await self.manager.run(domain, job)
        assert sandbox.streams is not None  # noqa: S101 - for the type checker
        sandbox.streams.close_input()
        capture = sandbox.capture
        assert capture is not None  # noqa: S101 - for the type checker
        try:
            kept = False
            positions = [0, 0]
            while True:
                response = self._news(sandbox, capture, positions)
                if response is not None:
                    yield response
                    continue  # something may have come meanwhile
                drained = sandbox.streams.drained
                if capture.finished and sandbox.ended.is_set() and drained.is_set():
                    break
                capture.changed.clear()
                last = drained if sandbox.ended.is_set() else sandbox.ended
                await first_of(capture.changed, sandbox.streams.changed, last)
            if capture.error is not None:
                raise capture.error
            snapshot = await asyncio.to_thread(self.full, store, request.name)
            kept = True
        except (asyncio.CancelledError, GeneratorExit):
            await give_up(capture, store, request.name)
            raise
        finally:
            sandbox.kill()
            if not kept:
                self.stores.collect_soon(domain)
        yield sn.CreateSnapshotResponse(snapshot=snapshot)

    @staticmethod
    def _news(sandbox: Sandbox, capture: Capture, positions: list[int]) -> sn.CreateSnapshotResponse | None:
        """What is new since `positions` of the streams, or nothing."""
        assert sandbox.streams is not None  # noqa: S101 - for the type checker
        parts = []
        for i, s in enumerate((sandbox.streams.stdout, sandbox.streams.stderr)):
            data, _, positions[i] = s.since(positions[i])
            parts.append(data)
        if not any(parts) and not capture.total:
            return None
        done, total = capture.done, capture.total
        capture.total = 0
        return sn.CreateSnapshotResponse(stdout=parts[0], stderr=parts[1], frames_done=done, frames_total=total)

    @unary
    async def GetSnapshot(self, domain: Domain, request: sn.GetSnapshotRequest) -> sn.Snapshot:  # noqa: N802
        """All that is known of one."""
        return await asyncio.to_thread(self.full, await self._store(domain), request.name)

    @unary
    async def ListSnapshots(self, domain: Domain, request: sn.ListSnapshotsRequest) -> sn.ListSnapshotsResponse:  # noqa: N802
        """A page of them, by name."""
        size = convert.page_size(request.page_size)
        try:
            after = base64.b64decode(request.page_token.encode(), b"-_", validate=True).decode() or None
        except (binascii.Error, UnicodeDecodeError):
            raise FieldError("page_token", "is not a token that ListSnapshots gave") from None
        store = await self._store(domain)
        found: list[SnapshotInfo] = await asyncio.to_thread(
            store.list, request.name_prefix, size + 1, after, request.parent or None
        )
        token = base64.urlsafe_b64encode(found[size - 1].name.encode()).decode() if len(found) > size else ""
        return sn.ListSnapshotsResponse(
            snapshots=[convert.snapshot_message(info) for info in found[:size]], next_page_token=token
        )

    @unary
    async def DeleteSnapshot(self, domain: Domain, request: sn.DeleteSnapshotRequest) -> sn.DeleteSnapshotResponse:  # noqa: N802
        """Delete; the space comes back with the next collection."""
        store = await self._store(domain)
        await asyncio.to_thread(store.delete, request.name, cascade=request.cascade)
        await self.manager.shelf.check(domain)
        with contextlib.suppress(QuarkError):  # it is deleted, and a pager that does not answer holds no image either
            await in_thread(domain.name, lambda: self.stores.prune(domain))
        return sn.DeleteSnapshotResponse()

    @unary
    async def FlattenSnapshot(self, domain: Domain, request: sn.FlattenSnapshotRequest) -> sn.Snapshot:  # noqa: N802
        """Without a parent from now on."""
        store = await self._store(domain)
        await in_thread(domain.name, lambda: store.flatten(request.name))
        return await asyncio.to_thread(self.full, store, request.name)

    @stream
    async def ExportSnapshot(  # noqa: N802
        self, domain: Domain, request: sn.ExportSnapshotRequest
    ) -> AsyncIterator[sn.ExportSnapshotResponse]:
        """As a stream of bytes."""
        store = await self._store(domain)
        await asyncio.to_thread(store.get, request.name)
        pipe = Pipe()

        def produce(out: Pipe) -> None:
            dependencies.export(store, request.name, cast("BinaryIO", out), paths_of(domain))

        work = asyncio.create_task(in_thread(domain.name, lambda: pipe.feed(produce)))
        try:
            while data := await pipe.take(EXPORT_BYTES):
                yield sn.ExportSnapshotResponse(data=data)
            await work
        finally:
            pipe.abandon()
            with contextlib.suppress(QuarkError, Abandoned):
                await asyncio.shield(work)

    @unary
    async def ImportSnapshot(self, domain: Domain, requests: AsyncIterator[sn.ImportSnapshotRequest]) -> sn.Snapshot:  # noqa: N802
        """From a stream of bytes."""
        store = await self._store(domain)
        pipe = Pipe()
        work: asyncio.Task[SnapshotInfo] | None = None

        def take(name: str | None, host_paths: bool) -> SnapshotInfo:
            try:
                return store.import_(cast("BinaryIO", pipe), name, Metadata.load, believed=host_paths)
            finally:
                pipe.abandon()

        try:
            async for request in requests:
                if work is None:
                    work = asyncio.create_task(
                        in_thread(domain.name, functools.partial(take, request.name or None, request.host_paths))
                    )
                if not await pipe.give(request.data):
                    break  # it has found something wrong
            if work is None:
                raise FieldError("data", "is empty; send what ExportSnapshot gave")
            pipe.end()
            info = await work
        except BaseException:
            pipe.abandon()
            if work is not None:
                with contextlib.suppress(QuarkError, Abandoned):
                    await asyncio.shield(work)
                self.stores.collect_soon(domain)
            raise
        return await asyncio.to_thread(self.full, store, info.name)

    @unary
    async def CheckSnapshot(self, domain: Domain, request: sn.CheckSnapshotRequest) -> sn.CheckSnapshotResponse:  # noqa: N802
        """What it depends on, and whether this host has it."""
        store = await self._store(domain)
        found = await in_thread(domain.name, lambda: dependencies.check(store, request.name, paths_of(domain)))
        files = [sn.CheckSnapshotResponse.File(**d._asdict()) for d in found]
        return sn.CheckSnapshotResponse(files=files, satisfied=all(d.satisfied for d in found))

    @unary
    async def WarmSnapshot(self, domain: Domain, request: sn.WarmSnapshotRequest) -> sn.WarmSnapshotResponse:  # noqa: N802
        """Image into memory."""
        size = await self.stores.warm(domain, request.name)
        if request.clones:
            await self.manager.shelf.keep(domain.name, request.name, request.clones)
        return sn.WarmSnapshotResponse(image_bytes=size)

    @unary
    async def CoolSnapshot(self, domain: Domain, request: sn.CoolSnapshotRequest) -> sn.CoolSnapshotResponse:  # noqa: N802
        """Image out of memory."""
        store = await self._store(domain)
        await asyncio.to_thread(store.get, request.name)
        self.manager.shelf.forget(domain.name, request.name)
        await in_thread(domain.name, lambda: self.stores.ask_pager(domain, "cool", request.name))
        return sn.CoolSnapshotResponse()

    @unary
    async def CollectGarbage(self, domain: Domain, _: sn.CollectGarbageRequest) -> sn.CollectGarbageResponse:  # noqa: N802
        """Give space back."""
        report = await in_thread(domain.name, (await self._store(domain)).gc)
        return sn.CollectGarbageResponse(**report._asdict())

    @stream
    async def CheckStore(self, domain: Domain, _: sn.CheckStoreRequest) -> AsyncIterator[sn.CheckStoreResponse]:  # noqa: N802
        """Verify all of it."""
        store = await self._store(domain)
        steps = Steps()
        work = asyncio.create_task(in_thread(domain.name, lambda: store.fsck(steps)))
        work.add_done_callback(lambda _: steps.changed.set())
        try:
            while not work.done():
                await steps.changed.wait()
                steps.changed.clear()
                if not work.done():
                    yield sn.CheckStoreResponse(bytes_done=steps.done, bytes_total=steps.total)
            problems = await work
        finally:
            steps.give_up()
            with contextlib.suppress(QuarkError, Abandoned):
                await asyncio.shield(work)
        yield sn.CheckStoreResponse(problems=[sn.CheckStoreResponse.Problem(**p._asdict()) for p in problems])


def paths_of(domain: Domain) -> tuple[str, ...] | None:
    """The host directories that its snapshots may use; None: any."""
    return None if domain.paths is None else tuple(domain.paths)


async def give_up(capture: Capture, store: Store, name: str) -> None:
    """End a capture that nobody waits for any more; what it has written goes, even if that is all of it."""
    if not capture.finished:
        capture.cancel()
        await set_within(capture.ended, CANCEL_SECONDS)
    if capture.finished and capture.error is None:
        with contextlib.suppress(QuarkError):  # somebody else has deleted it
            await asyncio.to_thread(store.delete, name)
