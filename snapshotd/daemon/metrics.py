"""Prometheus metrics. Counters and histograms are kept as things happen; what can be looked up is looked up when the endpoint is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily

from quark.errors import ConfigError, QuarkError
from snapshotd.daemon import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from snapshotd.daemon.manager import Manager
    from snapshotd.daemon.sandbox import Sandbox
    from snapshotd.daemon.stores import Stores

SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """One registry a daemon."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Histogram(
            "quark_rpc_seconds", "Calls of the API.", ["method", "code"], buckets=SECONDS, registry=self.registry
        )
        self.restore = Histogram(
            "quark_restore_seconds",
            "Steps of restores, and `total`: from the request to the first output.",
            ["step"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.ended = Counter(
            "quark_sandboxes_ended_total", "Sandboxes that ended.", ["outcome"], registry=self.registry
        )
        self.clones = Counter(
            "quark_clones_total", "Clones that ended, by the machine they found.", ["machine"], registry=self.registry
        )
        self.faults = Counter(
            "quark_restore_faults_total", "Page faults of clones that the pager answered.", registry=self.registry
        )

    def call(self, method: str, code: str, seconds: float) -> None:
        """A call of the API has ended."""
        self.calls.labels(method, code).observe(seconds)

    def sandbox_ended(self, sandbox: Sandbox) -> None:
        """Count a sandbox, and the steps of its restore."""
        self.ended.labels("failed" if sandbox.error else "exited").inc()
        if sandbox.snapshot:
            self.clones.labels("prepared" if sandbox.prepared else "none").inc()
        self.faults.inc(sandbox.faults)
        for step, us in sandbox.timeline:
            self.restore.labels(step).observe(us / 1e6)
        if sandbox.timeline:
            self.restore.labels("total").observe(sum(us for _, us in sandbox.timeline) / 1e6)
            tracing.steps(
                "restore",
                sandbox.timeline,
                sandbox.start_ns,
                sandbox.trace,
                snapshot=sandbox.snapshot,
                sandbox=sandbox.id,
            )

    def serve(self, address: str, manager: Manager, stores: Stores) -> Callable[[], None]:
        """Start the endpoint at HOST:PORT, none when the address is empty; returns what ends it.

        Raises:
            ConfigError: not an address that can be listened on.
        """
        if not address:
            return lambda: None
        self.registry.register(Lookup(manager, stores))
        host, _, port = address.rpartition(":")
        try:
            server, thread = start_http_server(int(port), addr=host.strip("[]") or "127.0.0.1", registry=self.registry)
        except (OSError, ValueError, OverflowError) as e:
            raise ConfigError(f"metrics: cannot listen on {address!r}: {e}; use HOST:PORT") from e

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return end


class Lookup:
    """Gauges that are read when asked for, in the endpoint's thread."""

    def __init__(self, manager: Manager, stores: Stores) -> None:
        self.manager = manager
        self.stores = stores

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        running = [s for s in list(self.manager.sandboxes.values()) if not s.ended.is_set()]
        yield GaugeMetricFamily("quark_sandboxes_running", "Sandboxes that run.", len(running))
        yield GaugeMetricFamily("quark_pool_idle", "Workers without a sandbox.", len(self.manager.pool.idle))
        shelf = self.manager.shelf
        yield GaugeMetricFamily("quark_pool_prepared", "Machines prepared for clones.", len(shelf.machines))
        yield GaugeMetricFamily("quark_pool_prepared_bytes", "Of these machines' own.", shelf.bytes)
        memory = GaugeMetricFamily("quark_sandbox_memory_bytes", "Of all sandboxes.", labels=["kind"])
        sizes = [s.memory() for s in running]
        memory.add_metric(["private"], sum(p for p, _ in sizes))
        memory.add_metric(["shared"], sum(s for _, s in sizes))
        yield memory
        snapshots = GaugeMetricFamily("quark_snapshots", "Snapshots in the store.", labels=["domain"])
        size = GaugeMetricFamily("quark_store_bytes", "Bytes of chunks, maps and documents.", labels=["domain"])
        ratio = GaugeMetricFamily(
            "quark_store_dedup_ratio", "Pages of all snapshots for each stored one.", labels=["domain"]
        )
        pages = GaugeMetricFamily("quark_image_bytes", "Image memory that clones share.", labels=["domain"])
        for domain in self.stores.config.all_domains().values():
            try:
                store = self.stores.get(domain)
                count, total, new = store.totals()
                used, _ = store.usage()
                _, filled, _ = self.stores.pager_totals(domain)
            except QuarkError:
                continue  # that domain's calls say why
            snapshots.add_metric([domain.name], count)
            size.add_metric([domain.name], used)
            ratio.add_metric([domain.name], total / new if new else 1.0)
            pages.add_metric([domain.name], filled * 4096)
        yield from (snapshots, size, ratio, pages)
