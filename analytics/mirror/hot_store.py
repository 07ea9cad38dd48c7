"""Reads closed days from QuestDB: their sizes, and their rows as Parquet slices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from tapehouse.clock import DAY, MINUTE, SECOND, day_of, parse_ns
from tapehouse.errors import TapehouseError
from tapehouse.model import Kind
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader
from tapehouse.stores.questdb_export import QuestExport

_EXPORT_TIMEOUT_S = 60
"""Without a byte of an answer."""
_SLICE_BYTES = 64 * 2**20
_MIN_SLICE_ROWS = 5_000
_STATEMENT_TIMEOUT_S = 180
"""Longer than QuestDB's own limit for a statement."""
_UNITS = ((MINUTE, "m"), (SECOND, "s"))


@dataclass(frozen=True)
class TimeSlice:
    """The rows with start_ns <= time < end_ns."""

    start_ns: int
    end_ns: int
    rows: int


class HotDayReader:
    """Statements run on one connection, for one thread at a time; exports run in the event loop."""

    def __init__(self, settings: QuestDB) -> None:
        self._settings = settings
        self.reader = QuestReader(settings, _STATEMENT_TIMEOUT_S)

    def slices(self, kind: Kind, day: str, max_rows: int) -> list[TimeSlice]:
        """Split a day by time into slices of at most `max_rows` rows; a second with more rows is one slice.

        Slices of large rows, such as depth, have fewer rows.
        """
        start = parse_ns(day)
        stored = self.reader.day_partitions(kind).get(day)
        if stored is not None:
            max_rows = min(max_rows, max(_MIN_SLICE_ROWS, _SLICE_BYTES * stored.rows // max(stored.bytes, 1)))
        return self._split(kind, start, start + DAY, max_rows, 0)

    def _split(self, kind: Kind, start_ns: int, end_ns: int, max_rows: int, level: int) -> list[TimeSlice]:
        unit, name = _UNITS[level]
        counts = self.reader.fetch(
            f"SELECT cast(bucket AS long), rows FROM (SELECT timestamp_floor('{name}', {kind.time}) bucket, "
            f"count() rows FROM {kind.name} WHERE {kind.time} >= cast(%s AS timestamp_ns) "
            f"AND {kind.time} < cast(%s AS timestamp_ns)) ORDER BY bucket",
            [start_ns, end_ns],
        )
        slices: list[TimeSlice] = []
        begin, rows = start_ns, 0
        for bucket, count in counts:
            if rows and rows + count > max_rows:
                slices.append(TimeSlice(begin, bucket, rows))
                begin, rows = bucket, 0
            if count > max_rows and level + 1 < len(_UNITS):
                slices += self._split(kind, bucket, bucket + unit, max_rows, level + 1)
                begin = bucket + unit
            else:
                rows += count
        if rows:
            slices.append(TimeSlice(begin, end_ns, rows))
        return slices

    async def export(self, kind: Kind, slices: Sequence[TimeSlice]) -> AsyncIterator[tuple[TimeSlice, bytes]]:
        """The rows of each slice as a Parquet file with all columns of the kind, one slice in memory at a time.

        Raises ConnectError when QuestDB does not answer or an answer breaks off, TapehouseError when it rejects
        the statement.
        """
        export = QuestExport(self._settings, _EXPORT_TIMEOUT_S)
        try:
            for part in slices:
                statement, bound = _select_slice(kind, part)
                try:
                    body = await asyncio.to_thread(export.parquet, statement, bound, zstd=True)
                except TapehouseError as reason:
                    raise type(reason)(
                        f"export of {kind.name} of {day_of(part.start_ns)}: {reason.message}",
                        remedy="Look at QuestDB's log. The next run of the mirror copies the day again.",
                    ) from reason
                yield part, body
        finally:
            # Ends the request of a thread that nobody waits for any more.
            export.close()


def _select_slice(kind: Kind, part: TimeSlice) -> tuple[str, list[str | int]]:
    # QuestDB 9.3 writes a VARCHAR of many rows with several dictionaries, which no reader of Parquet takes.
    columns = ", ".join(
        f"cast({column.name} AS string) {column.name}" if column.type == "text" else column.name
        for column in kind.columns
    )
    statement = (
        f"SELECT {columns} FROM {kind.name} "
        f"WHERE {kind.time} >= cast(%s AS timestamp_ns) AND {kind.time} < cast(%s AS timestamp_ns)"
    )
    return statement, [part.start_ns, part.end_ns]
