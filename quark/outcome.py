"""How a sandbox ended, as `quark run` is told, by a daemon or by itself."""

from __future__ import annotations


class Outcome:
    """How a sandbox ended. `steps` are (name, microseconds) from the request to the first output, of a clone."""

    __slots__ = ("fault_pages", "faults", "prefetched", "status", "steps")

    def __init__(
        self, status: int, steps: list[tuple[str, int]], prefetched: int = 0, faults: int = 0, fault_pages: int = 0
    ) -> None:
        self.status = status
        self.steps = steps
        self.prefetched = prefetched
        self.faults = faults
        self.fault_pages = fault_pages
