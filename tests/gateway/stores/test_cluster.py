"""On a cluster the day sizes of ClickHouse count the rows of all shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateway.stores.clickhouse import ClickHouseStore
from gateway.stores.contract import DaySize
from tapehouse.clock import parse_ns
from tapehouse.model import TRADES
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient


def test_day_sizes_count_the_local_tables_of_every_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[str, Any]] = []

    def fetch(
        self: ClickHouseClient, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[tuple[Any, ...]]:
        fetched.append((statement, (parameters or {})["table"]))
        return [("20240229", 5, 700)]

    monkeypatch.setattr(ClickHouseClient, "fetch", fetch)
    store = ClickHouseStore(ClickHouse(cluster="both"))
    try:
        assert store.day_sizes(TRADES) == {parse_ns("2024-02-29"): DaySize(5, 700)}
    finally:
        store.close()
    ((statement, table),) = fetched
    assert "FROM cluster('both', system.parts) WHERE" in statement
    assert table == "trades_local"
