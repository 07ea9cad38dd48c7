"""On a cluster the mirror counts the days of all shards, from the tables beneath the Distributed ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from analytics.mirror.cold_store import ColdStore
from tapehouse.model import TRADES
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient


def test_days_are_counted_over_every_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[str, Any]] = []

    def fetch(
        self: ClickHouseClient, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[tuple[Any, ...]]:
        fetched.append((statement, (parameters or {})["table"]))
        return [("20240229", 5, 700)]

    monkeypatch.setattr(ClickHouseClient, "fetch", fetch)
    cold = ColdStore(ClickHouse(cluster="both"))
    try:
        assert cold.days(TRADES) == {"2024-02-29": (5, 700)}
    finally:
        cold.close()
    ((statement, table),) = fetched
    assert "FROM cluster('both', system.parts) WHERE" in statement
    assert table == "trades_local"
