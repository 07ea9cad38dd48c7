"""Applies ClickHouse's numbered SQL files, on one server or, translated, on a cluster."""

from __future__ import annotations

import re

from tapehouse.errors import ColdStoreError, MigrationError
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.migrations import Migration

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)")
_ALTER = re.compile(r"ALTER TABLE (\w+) ADD")
_VIEW = re.compile(r"CREATE VIEW IF NOT EXISTS (\w+)")
_ENGINE = re.compile(r"ENGINE = (\w*)MergeTree(?:\((\w*)\))?")
_RECORD = """CREATE TABLE IF NOT EXISTS migrations (number UInt32, file String, checksum String,
    applied DateTime64(9, 'UTC')) ENGINE = MergeTree ORDER BY number"""
# By default rows are sharded by symbol: a GROUP BY symbol then needs no merge over shards.
_SHARD_BY = {"account_trades": "cityHash64(account_id)", "ledger": "cityHash64(kind, day)"}


class ClickHouseMigrations:
    """The table of applied migrations in ClickHouse; creates the database of the settings if needed."""

    def __init__(self, settings: ClickHouse) -> None:
        self._settings = settings
        self._client = ClickHouseClient(settings)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def applied(self) -> dict[int, str]:
        """Number -> checksum of the applied migrations; creates the database and the table if needed."""
        server = ClickHouseClient(self._settings, database="default")
        try:
            where = _on(self._settings.cluster)
            server.command(f"CREATE DATABASE IF NOT EXISTS {self._settings.database}{where}")
        finally:
            server.close()
        self._client.command(_RECORD)
        return dict(self._client.fetch("SELECT number, checksum FROM migrations"))

    def apply(self, migration: Migration) -> None:
        """Run the statement, then record it. If killed in between it runs again, so it must be idempotent.

        Raises MigrationError when ClickHouse rejects it.
        """
        try:
            for statement in deployment_statements(
                migration.statement, self._settings.database, self._settings.cluster
            ):
                self._client.command(statement)
        except ColdStoreError as reason:
            raise MigrationError(f"ddl: {migration.name}: {reason.message}") from reason
        self._client.command(
            "INSERT INTO migrations VALUES ({number:UInt32}, {file:String}, {checksum:String}, now64(9))",
            {"number": migration.number, "file": migration.name, "checksum": migration.checksum},
        )


def deployment_statements(statement: str, database: str, cluster: str) -> list[str]:
    """The statements of a migration: unchanged when `cluster` is empty. On a cluster a CREATE TABLE becomes a
    Replicated table `<table>_local` and a Distributed table `<table>`, which is the one to query; an ALTER TABLE
    alters both."""
    if not cluster:
        return [statement]
    if view := _VIEW.search(statement):
        return [statement.replace(view[0], view[0] + _on(cluster))]
    if altered := _ALTER.search(statement):
        # The one that stores rows first, so that a query of the other always finds the column.
        local, queried = f"{altered[1]}_local", altered[1]
        return [
            statement.replace(altered[0], f"ALTER TABLE {name}{_on(cluster)} ADD")
            for name in (local, queried)
        ]
    table = _TABLE.search(statement)
    engine = _ENGINE.search(statement)
    assert table, statement
    assert engine, statement
    name, local = table[1], f"{table[1]}_local"
    parts = [
        f"'/clickhouse/tables/{{shard}}/{database}/{{table}}', '{{replica}}'",
        *filter(None, [engine[2]]),
    ]
    replicated = statement.replace(table[0], f"CREATE TABLE IF NOT EXISTS {local}{_on(cluster)}").replace(
        engine[0], f"ENGINE = Replicated{engine[1]}MergeTree({', '.join(parts)})"
    )
    key = _SHARD_BY.get(name, "cityHash64(symbol)")
    distributed = (
        f"CREATE TABLE IF NOT EXISTS {name}{_on(cluster)} AS {local} "
        f"ENGINE = Distributed('{cluster}', '{database}', '{local}', {key})"
    )
    return [replicated, distributed]


def _on(cluster: str) -> str:
    return f" ON CLUSTER '{cluster}'" if cluster else ""
