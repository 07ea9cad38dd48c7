"""The two stores, and which of them owns which day as far as is known."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from gateway.ahead import Ahead
from gateway.coverage import Coverage, CoverageReader
from gateway.plan import Side
from gateway.stores.contract import Store
from tapehouse.clickhouse import ClickHouseClient
from tapehouse.errors import TapehouseError
from tapehouse.model import TICKS


class Owners:
    """For several threads at a time; `coverage` is replaced whole."""

    def __init__(self, stores: Mapping[Side, Store], ledger: ClickHouseClient) -> None:
        self.stores = stores
        self.ahead = {side: Ahead(store.name) for side, store in stores.items()}
        self.coverage = Coverage()
        self._reader = CoverageReader(stores["hot"], ledger)
        self._marks: Mapping[str, Any] | None = None
        self._reading = threading.Lock()

    def close(self) -> None:
        """Close the stores' connections."""
        for side, store in self.stores.items():
            self.ahead[side].close()
            store.close()

    def refresh(self, marks: Mapping[str, Any] | None = None) -> None:
        """Read it anew; `marks` are those of the shared state, or of the last time.

        Raises what the stores raise; what was known stays, for no day leaves the hot store unnoticed.
        """
        with self._reading:
            if marks is not None:
                self._marks = marks
            try:
                # In this order: what leaves behind the first question is found by whoever reads the rows.
                oldest = {kind.name: self.stores["hot"].oldest(kind) for kind in TICKS}
                self.coverage = self._reader.read(self._marks, oldest)
            except TapehouseError as reason:
                if self.coverage.unread:
                    self.coverage = Coverage(unread=reason.message)
                raise
