"""The tables that the migrations create in ClickHouse match the model, on one server and on a cluster."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from analytics.mirror.clickhouse_sql import column_type
from analytics.mirror.cold_store import ColdStore
from tapehouse.clock import HOUR, parse_ns
from tapehouse.errors import MigrationError
from tapehouse.model import BARS, KINDS, NO_BAR, TICKS, TRADES, Kind
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.clickhouse_schema import ClickHouseMigrations, deployment_statements
from tapehouse.stores.migrations import Migration, migrate, migrations
from tapehouse.tabular import TIME, as_frame
from tests.batches import batch

_FILES = migrations("clickhouse")
_MADE = [file for file in _FILES if "ALTER TABLE" not in file.statement]
"""The files that make a table or a view."""
_TABLES = {file.name: file.name[5:-4] for file in _MADE}
_START = parse_ns("2024-02-28")
_ROWS = 5000


@pytest.fixture(scope="module")
def client(shared_cold: ClickHouse) -> Iterator[ClickHouseClient]:
    client = ClickHouseClient(shared_cold)
    yield client
    client.close()


def _plain(statement: str) -> str:
    return " ".join(line for line in statement.splitlines() if not line.startswith("--"))


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_a_table_has_the_columns_of_its_kind(client: ClickHouseClient, kind: Kind) -> None:
    found = {name: type_ for name, type_, *_ in client.fetch(f"DESCRIBE TABLE {kind.name}")}
    assert {name: found[name] for name in kind.names} == {one.name: column_type(one) for one in kind.columns}
    # In the order of the kind, apart from the columns that are stored as differences.
    assert [name for name in found if name in kind.names] == list(kind.names)
    assert {*found} - {*kind.names} == ({"delay", "seq_code"} if kind is TRADES else set())


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_a_table_is_partitioned_by_day_and_sorted_by_the_key(
    client: ClickHouseClient, shared_cold: ClickHouse, kind: Kind
) -> None:
    ((engine, partition, sorting),) = client.fetch(
        "SELECT engine, partition_key, sorting_key FROM system.tables "
        "WHERE database = {database:String} AND name = {name:String}",
        {"database": shared_cold.database, "name": kind.name},
    )
    assert (engine, partition) == ("MergeTree", f"toYYYYMMDD({kind.time})")
    key = {"seq_code" if name == "seq" and kind is TRADES else name for name in kind.key}
    assert {*sorting.split(", ")} == key


def test_every_stored_column_of_ticks_is_compressed(
    client: ClickHouseClient, shared_cold: ClickHouse
) -> None:
    found = client.fetch(
        "SELECT table, name, compression_codec FROM system.columns WHERE database = {database:String} "
        "AND default_kind != 'ALIAS'",
        {"database": shared_cold.database},
    )
    codecs = {(table, name): codec for table, name, codec in found if table in KINDS}
    assert {table for table, _ in codecs} == {kind.name for kind in TICKS}
    assert [column for column, codec in codecs.items() if "ZSTD" not in codec] == []
    assert all("Delta" in codec for (_, name), codec in codecs.items() if name == "ts_event")


def test_there_is_one_table_for_each_kind(client: ClickHouseClient) -> None:
    made = {*(kind.name for kind in TICKS), "bars_1m", "ledger"}
    assert {*_TABLES.values()} == made
    assert {name for (name,) in client.fetch("SHOW TABLES")} == {*made, "migrations"}


@pytest.mark.parametrize("file", _MADE, ids=lambda file: file.name)
def test_a_file_is_one_statement_with_a_header(file: Migration) -> None:
    lines = file.statement.splitlines()
    header = [line for line in lines if line.startswith("--")]
    assert lines[: len(header)] == header
    fields = dict(line[3:].split(":", 1) for line in header[:4])
    assert list(fields) == ["Purpose", "Grain", "Key", "Retention"]
    assert all(text.strip() for text in fields.values())
    name = _TABLES[file.name]
    key = {"bars_1m": BARS.key, "ledger": ("kind", "day")}.get(name) or KINDS[name].key
    assert fields["Key"].strip().startswith(f"({', '.join(key)})")
    # It may be run twice, for a kill between the statement and its record.
    assert re.match(rf"CREATE (TABLE|VIEW) IF NOT EXISTS {name}\b", _plain(file.statement))
    assert ";" not in file.statement.replace("; ", "")


def test_the_files_are_numbered_consecutively() -> None:
    assert [file.number for file in _FILES] == list(range(1, len(_FILES) + 1))


def test_an_applied_file_is_not_applied_again_and_must_not_change(shared_cold: ClickHouse) -> None:
    ledger = ClickHouseMigrations(shared_cold)
    assert migrate(ledger, _FILES) == []
    changed = [replace(_FILES[0], statement=_FILES[0].statement + "\n"), *_FILES[1:]]
    with pytest.raises(MigrationError, match="0001 was applied, but its file has been changed"):
        migrate(ledger, changed)
    with pytest.raises(MigrationError, match="0001 was applied, but its file has been removed"):
        migrate(ledger, _FILES[1:])
    # Killed between a statement and its record.
    for file in _FILES:
        ledger.apply(file)
    assert migrate(ledger, _FILES) == []
    ledger.close()


def test_a_rejected_statement_is_named_and_not_recorded(shared_cold: ClickHouse) -> None:
    ledger = ClickHouseMigrations(shared_cold)
    bad = Migration(99, "0099_bad.sql", "CREATE TABLE IF NOT EXISTS bad (x Int64) ENGINE = None")
    with pytest.raises(MigrationError, match=r"0099_bad\.sql: clickhouse: "):
        ledger.apply(bad)
    assert 99 not in ledger.applied()
    ledger.close()


@pytest.mark.parametrize("file", _MADE, ids=lambda file: file.name)
def test_files_are_rendered_for_a_cluster_as_valid_sql(client: ClickHouseClient, file: Migration) -> None:
    assert deployment_statements(file.statement, "cold", "") == [file.statement]
    statements = [_formatted(client, one) for one in deployment_statements(file.statement, "cold", "both")]
    name = _TABLES[file.name]
    assert all("ON CLUSTER both" in one for one in statements)
    if name == "bars_1m":
        (view,) = statements
        assert view.replace(" ON CLUSTER both", "") == _formatted(client, file.statement)
        return
    replicated, distributed = statements
    assert replicated.startswith(f"CREATE TABLE IF NOT EXISTS {name}_local ON CLUSTER both")
    version = ", revision" if name == "ledger" else ""
    engine = "ReplicatedReplacingMergeTree" if version else "ReplicatedMergeTree"
    path = f"{engine}('/clickhouse/tables/{{shard}}/cold/{{table}}', '{{replica}}'{version})"
    assert f"ENGINE = {path}" in replicated
    # Everything else is as on one server.
    single = _formatted(client, file.statement)
    once = replicated.replace(f"{name}_local ON CLUSTER both", name).replace(path, engine[10:])
    assert once.replace("\n", " ") == single.replace(
        "ReplacingMergeTree(revision)", "ReplacingMergeTree"
    ).replace("\n", " ")
    key = {"account_trades": "account_id", "ledger": "kind, day"}.get(name, "symbol")
    assert distributed.replace("\n", " ") == (
        f"CREATE TABLE IF NOT EXISTS {name} ON CLUSTER both AS {name}_local "
        f"ENGINE = Distributed('both', 'cold', '{name}_local', cityHash64({key}))"
    )


def test_a_column_is_added_to_both_tables_of_a_cluster(client: ClickHouseClient) -> None:
    (file,) = [file for file in _FILES if file not in _MADE]
    local, distributed = (
        _formatted(client, one) for one in deployment_statements(file.statement, "cold", "both")
    )
    added = "ON CLUSTER both (ADD COLUMN IF NOT EXISTS `trade_id` Nullable(String) CODEC(ZSTD(1)))"
    assert " ".join(local.split()) == f"ALTER TABLE trades_local {added}"
    assert " ".join(distributed.split()) == f"ALTER TABLE trades {added}"


def _formatted(client: ClickHouseClient, statement: str) -> str:
    ((formatted,),) = client.fetch("SELECT formatQuery({statement:String})", {"statement": statement})
    return str(formatted)


def test_bars_are_made_of_trades_and_read_from_the_projection(shared_cold: ClickHouse) -> None:
    store = ColdStore(shared_cold)
    try:
        chance = np.random.default_rng(5)
        frame = as_frame(batch(TRADES, _ROWS)).with_columns(
            ts_event=pl.Series(_START + chance.integers(0, 3 * HOUR, _ROWS)).cast(TIME),
            symbol=pl.Series(chance.choice(["a", "b"], _ROWS)),
            # Distinct, so that open and close are defined; those near ts_event are stored as differences.
            seq=pl.Series(chance.permutation(_ROWS) + chance.choice([0, _START + 2 * HOUR], _ROWS)),
            price=pl.Series(np.round(chance.uniform(-5, 100, _ROWS), 2)),
            size=pl.Series(np.round(chance.uniform(0, 100, _ROWS), 3)),
            side=pl.Series(chance.integers(-1, 2, _ROWS), dtype=pl.Int8),
            flags=pl.Series(chance.integers(0, 8, _ROWS), dtype=pl.Int16),
        )
        body = io.BytesIO()
        frame.write_parquet(body)
        store.insert(TRADES, TRADES.name, body.getvalue())
        order = "ORDER BY ts, venue, symbol"
        found = pl.read_ipc_stream(
            io.BytesIO(
                store.client.arrow(
                    f"SELECT {', '.join(BARS.names)} FROM bars_1m {order} "
                    "SETTINGS output_format_arrow_string_as_string = 1"
                )
            )
        )
        assert tuple(found.columns) == BARS.names
        expected = _bars(frame)
        assert found.height == expected.height > 300
        for column in BARS.columns:
            got, want = found[column.name], expected[column.name]
            if column.name in ("volume", "turnover", "buy_volume"):
                assert ((got - want).abs() <= 1e-9 * want.abs() + 1e-9).all(), column.name
            else:
                assert got.cast(want.dtype).to_list() == want.to_list(), column.name
        described = dict(store.client.fetch("DESCRIBE TABLE bars_1m SETTINGS describe_compact_output = 1"))
        assert described == {one.name: one.types.clickhouse for one in BARS.columns}
        plan = store.client.fetch(
            f"EXPLAIN projections = 1 SELECT * FROM bars_1m WHERE ts >= '2024-02-28' {order}"
        )
        text = "\n".join(line for (line,) in plan)
        assert "ReadFromMergeTree (bars_1m)" in text, text
    finally:
        store.close()


def _bars(frame: pl.DataFrame) -> pl.DataFrame:
    taken = frame.filter((pl.col("flags") & int(NO_BAR)) == 0).sort("seq")
    turnover = (pl.col("price") * pl.col("size")).sum()
    return (
        taken.group_by(
            pl.col("ts_event").dt.truncate("1m").alias("ts"), "venue", "symbol", maintain_order=True
        )
        .agg(
            pl.col("price").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").last().alias("close"),
            pl.col("size").sum().alias("volume"),
            turnover.alias("turnover"),
            pl.len().cast(pl.Int64).alias("trades"),
            pl.col("size").filter(pl.col("side") == 1).sum().alias("buy_volume"),
            pl.col("seq").min().alias("seq_first"),
            pl.col("seq").max().alias("seq_last"),
        )
        .sort("ts", "venue", "symbol")
    )
