"""Stored days are counted over the whole deployment: one server, or one replica of each shard of a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.clickhouse_parts import StoredDay, read_stored_days


class _RecordingClient:
    """Records statements; every answer is one day."""

    def __init__(self) -> None:
        self.statement = ""
        self.parameters: dict[str, Any] = {}

    def fetch(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Sequence[tuple[Any, ...]]:
        self.statement, self.parameters = statement, dict(parameters or {})
        return [("20240229", 5, 700)]


@pytest.fixture(scope="module")
def client(shared_cold: ClickHouse) -> Iterator[ClickHouseClient]:
    client = ClickHouseClient(shared_cold)
    yield client
    client.close()


@pytest.mark.parametrize(
    ("cluster", "source", "table"),
    [("", "system.parts", "trades"), ("both", "cluster('both', system.parts)", "trades_local")],
)
def test_days_are_counted_over_the_deployment(
    client: ClickHouseClient, shared_cold: ClickHouse, cluster: str, source: str, table: str
) -> None:
    settings = shared_cold.model_copy(update={"cluster": cluster})
    recording = _RecordingClient()
    days = read_stored_days(cast(ClickHouseClient, recording), settings, "trades")
    assert days == {"2024-02-29": StoredDay(5, 700)}
    assert f" FROM {source} WHERE " in recording.statement
    assert recording.parameters == {"database": shared_cold.database, "table": table}
    # ClickHouse can parse it; no cluster runs in the tests.
    formatted = client.fetch("SELECT formatQuery({statement:String})", {"statement": recording.statement})
    assert source in formatted[0][0]


def test_days_of_one_server_are_those_of_the_table(client: ClickHouseClient, shared_cold: ClickHouse) -> None:
    client.command("DROP TABLE IF EXISTS counted SYNC")
    client.command(
        "CREATE TABLE counted (at DateTime('UTC')) ENGINE = MergeTree PARTITION BY toYYYYMMDD(at) ORDER BY at"
    )
    try:
        assert read_stored_days(client, shared_cold, "counted") == {}
        client.command(
            "INSERT INTO counted SELECT toDateTime('2024-02-29 00:00:00', 'UTC') + number FROM numbers(7)"
        )
        client.command(
            "INSERT INTO counted SELECT toDateTime('2024-03-01 00:00:00', 'UTC') + number FROM numbers(3)"
        )
        days = read_stored_days(client, shared_cold, "counted")
        assert {day: stored.rows for day, stored in days.items()} == {"2024-02-29": 7, "2024-03-01": 3}
        assert all(stored.bytes > 0 for stored in days.values())
    finally:
        client.command("DROP TABLE counted SYNC")
