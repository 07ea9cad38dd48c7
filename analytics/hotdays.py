"""Days of the hot store: which there are, and their rows as slices of Parquet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from tapehouse.clock import DAY, MINUTE, SECOND, day_of, parse_ns
from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.model import Kind
from tapehouse.questdb import QuestReader
from tapehouse.settings import QuestDB
from tapehouse.stack.request import basic

_SILENCE_S = 60
_SLICE_BYTES = 64 * 2**20
_LEAST = 5_000
_PATIENCE_S = 180
"""Longer than QuestDB works on any statement."""
_UNITS = ((MINUTE, "m"), (SECOND, "s"))


@dataclass(frozen=True)
class Slice:
    """Rows with start_ns <= time < end_ns."""

    start_ns: int
    end_ns: int
    rows: int


@dataclass(frozen=True)
class HotDay:
    """A partition: its rows, and their bytes on the disk."""

    rows: int
    bytes: int


class HotDays:
    """One connection for questions, for one thread at a time; one for exports, of the event loop."""

    def __init__(self, settings: QuestDB) -> None:
        self._settings = settings
        self.reader = QuestReader(settings, _PATIENCE_S)

    def days(self, kind: Kind) -> dict[str, HotDay]:
        """All days there are, by their partitions."""
        found = self.reader.fetch(f"SELECT name, numRows, diskSize FROM table_partitions('{kind.name}')")
        days: dict[str, HotDay] = {}
        for name, rows, size in found:
            if rows:
                # A partition may be split: the names of its parts begin with its own.
                day = name[:10]
                before = days.get(day, HotDay(0, 0))
                days[day] = HotDay(before.rows + rows, before.bytes + size)
        return days

    def slices(self, kind: Kind, day: str, most: int) -> list[Slice]:
        """A day cut by time into slices of at most `most` rows, but for seconds that hold more.

        Less where rows are large, as those of books are.
        """
        start = parse_ns(day)
        held = self.days(kind).get(day)
        if held is not None:
            most = min(most, max(_LEAST, _SLICE_BYTES * held.rows // max(held.bytes, 1)))
        return self._cut(kind, start, start + DAY, most, 0)

    def _cut(self, kind: Kind, start_ns: int, end_ns: int, most: int, level: int) -> list[Slice]:
        unit, name = _UNITS[level]
        counts = self.reader.fetch(
            f"SELECT cast(bucket AS long), rows FROM (SELECT timestamp_floor('{name}', {kind.time}) bucket, "
            f"count() rows FROM {kind.name} WHERE {kind.time} >= cast(%s AS timestamp_ns) "
            f"AND {kind.time} < cast(%s AS timestamp_ns)) ORDER BY bucket",
            [start_ns, end_ns],
        )
        slices: list[Slice] = []
        begin, rows = start_ns, 0
        for bucket, count in counts:
            if rows and rows + count > most:
                slices.append(Slice(begin, bucket, rows))
                begin, rows = bucket, 0
            if count > most and level + 1 < len(_UNITS):
                slices += self._cut(kind, bucket, bucket + unit, most, level + 1)
                begin = bucket + unit
            else:
                rows += count
        if rows:
            slices.append(Slice(begin, end_ns, rows))
        return slices

    async def export(self, kind: Kind, slices: list[Slice]) -> AsyncIterator[tuple[Slice, bytes]]:
        """The rows of each slice as a Parquet file, all columns of the kind.

        Raises ConnectError when QuestDB does not answer or an answer is cut, TapehouseError when it refuses.
        """
        account = basic(self._settings.user, self._settings.password.get_secret_value())
        timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=_SILENCE_S)
        url = f"http://{self._settings.host}:{self._settings.http_port}/exp"
        async with aiohttp.ClientSession(headers=account, timeout=timeout) as session:
            for part in slices:
                try:
                    async with session.get(url, params=_question(kind, part)) as answer:
                        body = await answer.read()
                except (aiohttp.ClientError, TimeoutError, OSError) as reason:
                    raise ConnectError(
                        f"questdb: the export of {kind.name} of {day_of(part.start_ns)} was cut: {reason!r}",
                        remedy="Look at its log. The next run of the mirror begins the day again.",
                    ) from reason
                if answer.status != 200:
                    raise TapehouseError(
                        f"questdb: no export of {kind.name} of {day_of(part.start_ns)}: "
                        f"{answer.status} {body[:300].decode(errors='replace')}"
                    )
                yield part, body


def _question(kind: Kind, part: Slice) -> dict[str, str]:
    statement = (
        f"SELECT {', '.join(kind.names)} FROM {kind.name} "
        f"WHERE {kind.time} >= cast({part.start_ns} AS timestamp_ns) "
        f"AND {kind.time} < cast({part.end_ns} AS timestamp_ns)"
    )
    return {"fmt": "parquet", "compression_codec": "zstd", "compression_level": "1", "query": statement}
