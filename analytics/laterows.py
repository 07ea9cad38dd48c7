"""Late rows of one kind on their way into days of the cold store, in a table of their own."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import polars as pl

from analytics import fingerprint
from analytics.coldstore import STAGING, ColdStore
from analytics.fingerprint import Fingerprint
from analytics.storage import from_file, of_day, table_type
from tapehouse.clock import DAY, SECOND, parse_ns
from tapehouse.model import Kind

_ROWS = 200_000
"""Sent at a time."""
PLACE = "place"
"""The column that gives late rows their order: of rows with one key the one with the highest stays."""


class LateRows:
    """The table is `table`; what was added is known by day."""

    def __init__(self, cold: ColdStore, kind: Kind, table: str) -> None:
        self._cold = cold
        self.kind = kind
        self.table = table
        self.fingerprints: dict[str, Fingerprint] = {}
        self.bytes: dict[str, int] = {}
        """Sent to the cold store, about."""
        self._held: list[pl.DataFrame] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, cold: ColdStore, kind: Kind, mark: str = STAGING) -> AsyncIterator[LateRows]:
        """An empty table, dropped at the end; its name begins with `mark`."""
        columns = ", ".join(f"{column.name} {table_type(column)}" for column in kind.columns)
        definition = (
            f"({columns}, {PLACE} UInt64) ENGINE = MergeTree PARTITION BY toYYYYMMDD({kind.time}) "
            f"ORDER BY ({', '.join(kind.key)}, {PLACE})"
        )
        async with cold.table(f"{mark}{kind.name}_late", definition) as table:
            yield cls(cold, kind, table)

    async def hold(self, frame: pl.DataFrame) -> None:
        """Add rows: the kind's columns, and PLACE. They are sent once there are enough of them, or by `send`."""
        self._held.append(frame)
        if sum(frame.height for frame in self._held) >= _ROWS:
            await self.send()

    async def send(self) -> None:
        """Send what is held. Raises as the cold store does."""
        if self._held:
            rows, self._held = pl.concat(self._held), []
            await asyncio.to_thread(self.add, rows)

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows at once."""
        body = io.BytesIO()
        rows.write_parquet(body, compression="zstd", compression_level=1)
        columns = f"{', '.join(self.kind.names)}, {PLACE}"
        source = from_file(self.kind, f"{PLACE} UInt64")
        self._cold.client.insert(f"{self.table} ({columns}) SELECT {columns} FROM {source}", body.getvalue())
        days = rows.with_columns(day=pl.col(self.kind.time).dt.date().dt.to_string())
        for (name,), part in days.group_by("day"):
            day = str(name)
            added = fingerprint.of_frame(self.kind, part)
            self.fingerprints[day] = Fingerprint.sum([self.fingerprints.get(day, Fingerprint({})), added])
            self.bytes[day] = self.bytes.get(day, 0) + body.tell() * part.height // rows.height

    def cuts(self, day: str, most: int) -> list[tuple[int, int]]:
        """A day cut at whole seconds, [start, end) in ns, into parts of about `most` late rows at most."""
        start = parse_ns(day)
        counted = self._cold.client.fetch(
            f"SELECT intDiv(toUnixTimestamp64Nano({self.kind.time}), {SECOND}) AS second, count() FROM {self.table} "
            f"WHERE {of_day(self.kind, day)} GROUP BY second ORDER BY second"
        )
        bounds, rows = [start], 0
        for second, count in counted:
            if rows and rows + count > most:
                bounds.append(int(second) * SECOND)
                rows = 0
            rows += count
        bounds.append(start + DAY)
        return list(itertools.pairwise(bounds))
