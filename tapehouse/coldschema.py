"""The cold store's schema: its numbered files applied, on one server or, from the same files, on a cluster."""

from __future__ import annotations

import re

from tapehouse.clickhouse import ClickHouseClient
from tapehouse.errors import ColdStoreError, MigrationError
from tapehouse.migrations import Migration
from tapehouse.settings import ClickHouse

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)")
_VIEW = re.compile(r"CREATE VIEW IF NOT EXISTS (\w+)")
_ENGINE = re.compile(r"ENGINE = (\w*)MergeTree(?:\((\w*)\))?")
_RECORD = """CREATE TABLE IF NOT EXISTS migrations (number UInt32, file String, checksum String,
    applied DateTime64(9, 'UTC')) ENGINE = MergeTree ORDER BY number"""
# Rows of one symbol are on one shard: what is grouped by symbol needs no second pass.
_SHARD_BY = {"account_trades": "cityHash64(account_id)", "ledger": "cityHash64(kind, day)"}


class ClickLedger:
    """The record of migrations in the database of the settings, which is made where there is none."""

    def __init__(self, settings: ClickHouse) -> None:
        self._settings = settings
        self._client = ClickHouseClient(settings)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def applied(self) -> dict[int, str]:
        """Number -> checksum; creates the database and the record when there are none."""
        server = ClickHouseClient(self._settings, database="default")
        try:
            where = _on(self._settings.cluster)
            server.command(f"CREATE DATABASE IF NOT EXISTS {self._settings.database}{where}")
        finally:
            server.close()
        self._client.command(_RECORD)
        return dict(self._client.fetch("SELECT number, checksum FROM migrations"))

    def apply(self, migration: Migration) -> None:
        """Run the file, then record it; every statement may be run twice, for a kill in between.

        Raises MigrationError when ClickHouse refuses it.
        """
        try:
            for statement in rendered(migration.statement, self._settings.database, self._settings.cluster):
                self._client.command(statement)
        except ColdStoreError as reason:
            raise MigrationError(f"ddl: {migration.name}: {reason.message}") from reason
        self._client.command(
            "INSERT INTO migrations VALUES ({number:UInt32}, {file:String}, {checksum:String}, now64(9))",
            {"number": migration.number, "file": migration.name, "checksum": migration.checksum},
        )


def rendered(statement: str, database: str, cluster: str) -> list[str]:
    """The statements of a file: itself on one server; on a cluster its table Replicated under the name
    `<table>_local`, and the Distributed one before it that everybody reads."""
    if not cluster:
        return [statement]
    if view := _VIEW.search(statement):
        return [statement.replace(view[0], view[0] + _on(cluster))]
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
