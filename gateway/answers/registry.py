"""The hot and the cold store with their read-ahead pools, and the coverage that says which of them owns which day."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from gateway.answers.coverage import Coverage, CoverageReader
from gateway.answers.plan import StoreTier
from gateway.answers.read_ahead import ReadAheadPool
from gateway.stores.contract import Store
from tapehouse.errors import TapehouseError
from tapehouse.model import TICKS
from tapehouse.stores.clickhouse import ClickHouseClient


class StoreRegistry:
    """Thread-safe: `coverage` is immutable, and `refresh` replaces it."""

    def __init__(self, stores: Mapping[StoreTier, Store], ledger: ClickHouseClient) -> None:
        self.stores = stores
        self.read_ahead = {tier: ReadAheadPool(store.name) for tier, store in stores.items()}
        self.coverage = Coverage()
        self._reader = CoverageReader(stores["hot"], ledger)
        self._marks: Mapping[str, Any] | None = None
        self._refresh_lock = threading.Lock()

    def close(self) -> None:
        """Stop the read-ahead threads and close the stores' connections."""
        for tier, store in self.stores.items():
            self.read_ahead[tier].close()
            store.close()

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
