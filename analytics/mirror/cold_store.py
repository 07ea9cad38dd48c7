"""ClickHouse as the mirror writes it: whole days of a kind, each replaced atomically.

A day is built in a staging table and then replaces the partition of the old day in one statement. A mirror that
starts drops all staging tables, so a mirror that lost its lease fails at its next statement.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from analytics.mirror import fingerprint
from analytics.mirror.clickhouse_sql import (
    day_filter,
    input_source,
    insert_target,
    partition_number,
    select_stored,
)
from analytics.mirror.fingerprint import Fingerprint
from tapehouse.model import Kind
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.clickhouse_parts import StoredDay, local_table, read_stored_days

STAGING_PREFIX = "staging_"
IMPORT_PREFIX = "import_"
"""Prefix of tables that an import fills without the mirror's lease; dropped as abandoned after a day."""


class ColdStore:
    """Reads, fills and replaces days. Safe for several threads."""

    def __init__(self, settings: ClickHouse) -> None:
        self._settings = settings
        self._database = settings.database
        self._on = f" ON CLUSTER '{settings.cluster}'" if settings.cluster else ""
        self._cluster = settings.cluster
        self.client = ClickHouseClient(settings)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def drop_leftover_tables(self) -> list[str]:
        """Drop all staging tables, and import tables that were last changed a day ago; returns their names."""
        found = self.client.fetch(
            "SELECT name FROM system.tables WHERE database = {database:String} AND (startsWith(name, {staging:String})"
            " OR startsWith(name, {import:String}) AND metadata_modification_time < now() - INTERVAL 1 DAY)",
            {"database": self._database, "staging": STAGING_PREFIX, "import": IMPORT_PREFIX},
        )
        names = [name for (name,) in found]
        for name in names:
            self.client.command(f"DROP TABLE IF EXISTS {name}{self._on} SYNC")
        return names

    def staging_table(self, kind: Kind, day: str) -> AbstractAsyncContextManager[str]:
        """An empty table with the columns of a kind for one of its days; dropped when the context ends."""
        label = f"{STAGING_PREFIX}{kind.name}_{partition_number(day)}"
        return self.temporary_table(label, f"AS {self._local(kind.name)}")

    @asynccontextmanager
    async def temporary_table(self, label: str, definition: str) -> AsyncIterator[str]:
        """An empty table with the columns and engine of `definition`; dropped when the context ends.

        Its name begins with `label`, which begins with STAGING_PREFIX or IMPORT_PREFIX.
        """
        name = await asyncio.to_thread(self._create, label, definition)
        try:
            yield name
        finally:
            await asyncio.to_thread(self._drop, name)

    def insert(self, kind: Kind, table: str, parquet: bytes) -> None:
        """Insert the rows of a Parquet file, which has the columns of the kind, into a table."""
        self.client.insert(f"{insert_target(kind, table)} {select_stored(kind, input_source(kind))}", parquet)

    def fingerprint(self, kind: Kind, table: str, day: str | None = None) -> Fingerprint:
        """The fingerprint of `table`, a FROM clause that may have a WHERE, or of one day of a table."""
        source = table if day is None else f"{table} WHERE {day_filter(kind, day)}"
        return fingerprint.of_rows(self.client.fetch(fingerprint.fingerprint_query(kind, source)))

    def replace_day(self, kind: Kind, day: str, staging: str) -> None:
        """Replace a day with the rows of a staging table, atomically. The staging table must not be empty."""
        self.client.command(
            f"ALTER TABLE {self._local(kind.name)}{self._on} REPLACE PARTITION {partition_number(day)} "
            f"FROM {self._local(staging)}"
        )

    def drop_day(self, kind: Kind, day: str) -> None:
        """Delete a day, if it exists."""
        self.client.command(
            f"ALTER TABLE {self._local(kind.name)}{self._on} DROP PARTITION {partition_number(day)}"
        )

    def days(self, kind: Kind) -> dict[str, StoredDay]:
        """The size of each day, YYYY-MM-DD, that is stored."""
        return read_stored_days(self.client, self._settings, kind.name)

    def _local(self, table: str) -> str:
        return local_table(self._settings, table)

    def _create(self, label: str, definition: str) -> str:
        name = f"{label}_{secrets.token_hex(4)}"
        self.client.command(f"CREATE TABLE {self._local(name)}{self._on} {definition}")
        if self._cluster:
            self.client.command(
                f"CREATE TABLE {name}{self._on} AS {self._local(name)} "
                f"ENGINE = Distributed('{self._cluster}', '{self._database}', '{self._local(name)}', rand())"
            )
        return name

    def _drop(self, name: str) -> None:
        for table in {name, self._local(name)}:
            self.client.command(f"DROP TABLE IF EXISTS {table}{self._on} SYNC")
