"""StatisticsService (proto/quark/snapshot/v1/statistics.proto)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import quark
from quark.snapshot.v1 import statistics_pb2 as st
from quark.snapshot.v1.statistics_pb2_grpc import StatisticsServiceServicer
from snapshotd.daemon.pipe import in_thread
from snapshotd.daemon.rpc import Service, unary

if TYPE_CHECKING:
    from snapshotd.daemon.config import Domain


class StatisticsService(Service, StatisticsServiceServicer):
    """Numbers."""

    @unary
    async def GetStatistics(self, domain: Domain, _: st.GetStatisticsRequest) -> st.Statistics:  # noqa: N802 - the service definition's name
        """Of the daemon and the caller's domain."""
        store = await self.stores.open(domain)
        count, total, new = await asyncio.to_thread(store.totals)
        used, quota = await asyncio.to_thread(store.usage)
        images, pages, faults = await in_thread(domain.name, lambda: self.stores.pager_totals(domain))
        sandboxes = list(self.manager.sandboxes.values())
        return st.Statistics(
            version=quark.__version__,
            domain=domain.name,
            sandboxes_running=sum(s.domain == domain.name and not s.ended.is_set() for s in sandboxes),
            pool_idle=len(self.manager.pool.idle),
            pool_prepared=len(self.manager.shelf.machines),
            pool_prepared_bytes=self.manager.shelf.bytes,
            prepared_taken=self.manager.shelf.taken,
            prepared_missed=self.manager.shelf.missed,
            snapshots=count,
            store_bytes=used,
            quota_bytes=quota or 0,
            pages_total=total,
            pages_stored=new,
            images=images,
            image_pages=pages,
            faults=faults,
        )
