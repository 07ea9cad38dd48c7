"""Late rows of one kind, collected in a temporary ClickHouse table until they are merged into their days."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import polars as pl

from analytics.mirror import fingerprint
from analytics.mirror.clickhouse_sql import column_type, day_filter, input_source
from analytics.mirror.cold_store import STAGING_PREFIX, ColdStore
from analytics.mirror.fingerprint import Fingerprint
from tapehouse.clock import DAY, SECOND, parse_ns
from tapehouse.model import Kind

_BATCH_ROWS = 200_000
"""Rows inserted at a time."""
PLACE = "place"
"""The column with the order of arrival: of several rows with one key the one with the highest value is kept."""


class LateRowsTable:
    """A temporary table of late rows, and by day the fingerprint and size of what was added to it."""

    def __init__(self, cold: ColdStore, kind: Kind, table: str) -> None:
        self._cold = cold
        self.kind = kind
        self.table = table
        self.fingerprints: dict[str, Fingerprint] = {}
        self.bytes: dict[str, int] = {}
        """By day: approximate bytes sent to ClickHouse."""
        self._pending: list[pl.DataFrame] = []

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, cold: ColdStore, kind: Kind, prefix: str = STAGING_PREFIX
    ) -> AsyncIterator[LateRowsTable]:
        """An empty table whose name begins with `prefix`; dropped when the context ends."""
        columns = ", ".join(f"{column.name} {column_type(column)}" for column in kind.columns)
        definition = (
            f"({columns}, {PLACE} UInt64) ENGINE = MergeTree PARTITION BY toYYYYMMDD({kind.time}) "
            f"ORDER BY ({', '.join(kind.key)}, {PLACE})"
        )
        async with cold.temporary_table(f"{prefix}{kind.name}_late", definition) as table:
            yield cls(cold, kind, table)

    async def append(self, frame: pl.DataFrame) -> None:
        """Add rows with the columns of the kind and PLACE. They are inserted in large batches, the rest by `flush`."""
        self._pending.append(frame)
        if sum(frame.height for frame in self._pending) >= _BATCH_ROWS:
            await self.flush()

    async def flush(self) -> None:
        """Insert the pending rows. Raises ConnectError, ColdStoreError."""
        if self._pending:
            rows, self._pending = pl.concat(self._pending), []
            await asyncio.to_thread(self.insert, rows)

    def insert(self, rows: pl.DataFrame) -> None:
        """Insert rows now."""
        body = io.BytesIO()
        rows.write_parquet(body, compression="zstd", compression_level=1)
        columns = f"{', '.join(self.kind.names)}, {PLACE}"
        source = input_source(self.kind, f"{PLACE} UInt64")
        self._cold.client.insert(f"{self.table} ({columns}) SELECT {columns} FROM {source}", body.getvalue())
        days = rows.with_columns(day=pl.col(self.kind.time).dt.date().dt.to_string())
        for (name,), part in days.group_by("day"):
            day = str(name)
            added = fingerprint.of_frame(self.kind, part)
            self.fingerprints[day] = Fingerprint.sum([self.fingerprints.get(day, Fingerprint({})), added])
            self.bytes[day] = self.bytes.get(day, 0) + body.tell() * part.height // rows.height

    def split(self, day: str, max_rows: int) -> list[tuple[int, int]]:
        """Split a day at whole seconds into spans [start, end), ns, each with about `max_rows` late rows at most."""
        start = parse_ns(day)
        counts = self._cold.client.fetch(
            f"SELECT intDiv(toUnixTimestamp64Nano({self.kind.time}), {SECOND}) AS second, count() FROM {self.table} "
            f"WHERE {day_filter(self.kind, day)} GROUP BY second ORDER BY second"
        )
        bounds, rows = [start], 0
        for second, count in counts:
            if rows and rows + count > max_rows:
                bounds.append(int(second) * SECOND)
                rows = 0
            rows += count
        bounds.append(start + DAY)
        return list(itertools.pairwise(bounds))
