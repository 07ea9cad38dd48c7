"""The hot and the cold store with their read-ahead pools, and the coverage that says which of them owns which day."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from gateway.answers.coverage import Coverage, CoverageReader
from gateway.answers.day_bars import DayBars
from gateway.answers.plan import StoreTier
from gateway.answers.read_ahead import ReadAheadPool
from gateway.stores.contract import Store
from tapehouse.errors import TapehouseError
from tapehouse.model import TICKS
from tapehouse.stores.clickhouse import ClickHouseClient

_CACHED_BYTES = 2**27
_WRITTEN_S = 10
"""Longer than it takes until the coverage has been read again, with the marks of then."""


class StoreRegistry:
    """Thread-safe: `coverage` is immutable, and `refresh` replaces it."""

    def __init__(self, stores: Mapping[StoreTier, Store], ledger: ClickHouseClient) -> None:
        self.stores = stores
        self.read_ahead = {tier: ReadAheadPool(store.name) for tier, store in stores.items()}
        self.coverage = Coverage()
        self._reader = CoverageReader(stores["hot"], ledger)
        self._marks: Mapping[str, Any] | None = None
        self._refresh_lock = threading.Lock()
        self.day_bars = DayBars(_CACHED_BYTES)
        self._written: dict[tuple[str, int], float] = {}
        """When a writer opened a day's mark, by (kind, start of the day in ns); by the monotonic clock."""

    def close(self) -> None:
        """Stop the read-ahead threads and close the stores' connections."""
        for tier, store in self.stores.items():
            self.read_ahead[tier].close()
            store.close()

    def note_written(self, kind: str, day_ns: int) -> None:
        """A writer is about to write rows of a day: its digest is unknown until the coverage has been read again."""
        self._written[kind, day_ns] = time.monotonic()

    def digest(self, coverage: Coverage, kind: str, day_ns: int) -> str | None:
        """As `Coverage.digest`; None also for days whose rows a writer may have changed since it was read."""
        written = self._written.get((kind, day_ns))
        if written is not None:
            if time.monotonic() < written + _WRITTEN_S:
                return None
            self._written.pop((kind, day_ns), None)
        return coverage.digest(kind, day_ns)

    def refresh(self, marks: Mapping[str, Any] | None = None) -> None:
        """Read the coverage from both stores. `marks` are the day marks by KV key; None reuses those of the last call.

        Raises what the stores raise. The coverage of before then stays in use, which is safe: a read that returns
        fewer rows because a day has left the hot store is detected (see `Execution.detect_moved_days`).
        """
        with self._refresh_lock:
            if marks is not None:
                self._marks = marks
            try:
                # The oldest times first: a day that leaves after this call is detected by whoever reads its rows.
                oldest = {kind.name: self.stores["hot"].oldest_time(kind) for kind in TICKS}
                self.coverage = self._reader.read(self._marks, oldest)
            except TapehouseError as reason:
                if self.coverage.unknown_reason:
                    self.coverage = Coverage(unknown_reason=reason.message)
                raise
