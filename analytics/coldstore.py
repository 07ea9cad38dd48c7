"""The cold store as the mirror uses it: days of a kind, replaced whole.

A day is made in a staging table of its own and put in the place of the old one at once. The staging tables of
another mirror are dropped when one begins: whoever has lost the lease finds that his are gone.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from analytics import fingerprint
from analytics.fingerprint import Fingerprint
from analytics.storage import from_file, insertion, of_day, partition, selection
from tapehouse.clickhouse import ClickHouseClient
from tapehouse.model import Kind
from tapehouse.settings import ClickHouse

STAGING = "staging_"
IMPORT = "import_"
"""Begins the names of tables that are filled without the mirror's lease; one of yesterday is nobody's any more."""


class ColdStore:
    """For several threads at a time."""

    def __init__(self, settings: ClickHouse) -> None:
        self._database = settings.database
        self._on = f" ON CLUSTER '{settings.cluster}'" if settings.cluster else ""
        self._cluster = settings.cluster
        self.client = ClickHouseClient(settings)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def drop_leftovers(self) -> list[str]:
        """Drop every staging table there is, and what a killed import left; returns their names."""
        found = self.client.fetch(
            "SELECT name FROM system.tables WHERE database = {database:String} AND (startsWith(name, {staging:String})"
            " OR startsWith(name, {import:String}) AND metadata_modification_time < now() - INTERVAL 1 DAY)",
            {"database": self._database, "staging": STAGING, "import": IMPORT},
        )
        names = [name for (name,) in found]
        for name in names:
            self.client.command(f"DROP TABLE IF EXISTS {name}{self._on} SYNC")
        return names

    def staged(self, kind: Kind, day: str) -> AbstractAsyncContextManager[str]:
        """An empty table like that of a kind for one day of it, dropped at the end."""
        label = f"{STAGING}{kind.name}_{partition(day)}"
        return self.table(label, f"AS {self._local(kind.name)}")

    @asynccontextmanager
    async def table(self, label: str, definition: str) -> AsyncIterator[str]:
        """An empty table, dropped at the end: its columns and its engine are the definition.

        Its name begins with `label`, and that with STAGING or IMPORT.
        """
        name = await asyncio.to_thread(self._create, label, definition)
        try:
            yield name
        finally:
            await asyncio.to_thread(self._drop, name)

    def insert(self, kind: Kind, table: str, parquet: bytes) -> None:
        """Add the rows of a Parquet file with the kind's columns to a staging table."""
        self.client.insert(f"{insertion(kind, table)} {selection(kind, from_file(kind))}", parquet)

    def fingerprint(self, kind: Kind, table: str, day: str | None = None) -> Fingerprint:
        """Of the rows of `table`, which is what stands behind FROM, or of one day of a table."""
        source = table if day is None else f"{table} WHERE {of_day(kind, day)}"
        return fingerprint.of_rows(self.client.fetch(fingerprint.statement(kind, source)))

    def replace(self, kind: Kind, day: str, staging: str) -> None:
        """Put what is staged in the place of a day, at once. It must hold rows."""
        self.client.command(
            f"ALTER TABLE {self._local(kind.name)}{self._on} REPLACE PARTITION {partition(day)} "
            f"FROM {self._local(staging)}"
        )

    def drop_day(self, kind: Kind, day: str) -> None:
        """Remove a day; nothing happens where there is none."""
        self.client.command(f"ALTER TABLE {self._local(kind.name)}{self._on} DROP PARTITION {partition(day)}")

    def days(self, kind: Kind) -> dict[str, tuple[int, int]]:
        """By day: rows, and bytes on the disk."""
        source = f"clusterAllReplicas('{self._cluster}', system.parts)" if self._cluster else "system.parts"
        found = self.client.fetch(
            f"SELECT partition, sum(rows), sum(bytes_on_disk) FROM {source} "
            "WHERE active AND database = {database:String} AND table = {table:String} GROUP BY partition",
            {"database": self._database, "table": self._local(kind.name)},
        )
        return {
            f"{number[:4]}-{number[4:6]}-{number[6:]}": (int(rows), int(size)) for number, rows, size in found
        }

    def _local(self, table: str) -> str:
        return f"{table}_local" if self._cluster else table

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
