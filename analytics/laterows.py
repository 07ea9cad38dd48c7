"""Late rows of one kind on their way into days of the cold store, in a table of their own."""

from __future__ import annotations

import io
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import polars as pl

from analytics import fingerprint
from analytics.coldstore import ColdStore
from analytics.fingerprint import Fingerprint
from analytics.storage import from_file, table_type
from tapehouse.clock import DAY, SECOND, parse_ns
from tapehouse.model import Kind

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
        """Sent to the cold store."""

    @classmethod
    @asynccontextmanager
    async def opened(cls, cold: ColdStore, kind: Kind) -> AsyncIterator[LateRows]:
        """An empty table, dropped at the end."""
        columns = ", ".join(f"{column.name} {table_type(column)}" for column in kind.columns)
        definition = (
            f"({columns}, {PLACE} UInt64) ENGINE = MergeTree PARTITION BY toYYYYMMDD({kind.time}) "
            f"ORDER BY ({', '.join(kind.key)}, {PLACE})"
        )
        async with cold.table(kind, "late", definition) as table:
            yield cls(cold, kind, table)

    def add(self, frame: pl.DataFrame) -> None:
        """Add rows: the kind's columns, and PLACE."""
        days = frame.with_columns(day=pl.col(self.kind.time).dt.date().dt.to_string())
        for (day,), rows in days.group_by("day", maintain_order=True):
            self._add(str(day), rows.drop("day"))

    def _add(self, day: str, rows: pl.DataFrame) -> None:
        body = io.BytesIO()
        rows.write_parquet(body, compression="zstd", compression_level=1)
        columns = f"{', '.join(self.kind.names)}, {PLACE}"
        source = from_file(self.kind, f"{PLACE} UInt64")
        self._cold.client.insert(f"{self.table} ({columns}) SELECT {columns} FROM {source}", body.getvalue())
        added = fingerprint.of_frame(self.kind, rows)
        self.fingerprints[day] = Fingerprint.sum([self.fingerprints.get(day, Fingerprint({})), added])
        self.bytes[day] = self.bytes.get(day, 0) + body.tell()

    def cuts(self, day: str, most: int) -> list[tuple[int, int]]:
        """A day cut at whole seconds, [start, end) in ns, into parts of about `most` late rows at most."""
        start = parse_ns(day)
        counted = self._cold.client.fetch(
            f"SELECT intDiv(toUnixTimestamp64Nano({self.kind.time}), {SECOND}) AS second, count() FROM {self.table} "
            f"WHERE toYYYYMMDD({self.kind.time}) = {{day:UInt32}} GROUP BY second ORDER BY second",
            {"day": int(day.replace("-", ""))},
        )
        bounds, rows = [start], 0
        for second, count in counted:
            if rows and rows + count > most:
                bounds.append(int(second) * SECOND)
                rows = 0
            rows += count
        bounds.append(start + DAY)
        return list(itertools.pairwise(bounds))
