"""Rows stored in QuestDB as a recording to replay: VENUE/SYMBOL@START..END."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from ingest.replay.emulator import RecordedMessage, VenueEmulator
from ingest.replay.registry import EMULATORS
from ingest.venues.registry import VENUES
from ingest.venues.venue import VenueStream
from tapehouse.batch import Batch, ColumnData, Lists, Strings
from tapehouse.clock import parse_ns
from tapehouse.errors import SourceError, UsageError
from tapehouse.model import DEPTH, NULL_LONG, QUOTES, TRADES, Kind
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader

_PATTERN = re.compile(r"(?P<venue>[^/]+)/(?P<symbol>.+)@(?P<start>.+)\.\.(?P<end>.+)")
_DEFAULT_PROTOCOL = "binance_usdm"
"""For rows of a venue that has no emulator: all its messages carry the venue's time."""


@dataclass(frozen=True)
class StoredRecording:
    """Rows of one venue and symbol with start_ns <= ts_event < end_ns."""

    settings: QuestDB
    venue: str
    symbol: str
    start_ns: int
    end_ns: int

    @classmethod
    def from_text(cls, text: str, settings: QuestDB) -> StoredRecording | None:
        """From VENUE/SYMBOL@START..END; None where `text` has another form.

        Raises UsageError where a time is malformed or the end is not after the start.
        """
        found = _PATTERN.fullmatch(text)
        if found is None:
            return None
        stored = cls(
            settings, found["venue"], found["symbol"], parse_ns(found["start"]), parse_ns(found["end"])
        )
        if stored.start_ns >= stored.end_ns:
            raise UsageError(f"replay: expected an end after the start, was {text}")
        return stored

    @property
    def emulator(self) -> VenueEmulator:
        """That of the rows' venue, where there is one."""
        return EMULATORS.get(self.venue.removeprefix("replay_"), EMULATORS[_DEFAULT_PROTOCOL])

    @property
    def symbols(self) -> list[str]:
        """Its one symbol."""
        return [self.symbol]

    @property
    def streams(self) -> frozenset[VenueStream]:
        """The kinds that have rows; SourceError where none has."""
        kinds = [kind for kind in self._kinds() if self._count(kind)]
        if not kinds:
            raise SourceError(
                f"replay: expected rows of {self.symbol} on {self.venue} from START to END, was none",
                remedy="List what is stored with `tapehouse query`.",
            )
        return frozenset(VenueStream(kind.name, self.symbol) for kind in kinds)

    @property
    def lines(self) -> int:
        """Number of rows."""
        return sum(self._count(kind) for kind in self._kinds())

    def read(self) -> Iterator[RecordedMessage]:
        """The rows as messages, in order of receive time within each page read."""
        yield from heapq.merge(*(self._read(kind) for kind in self._kinds()), key=lambda item: item.at_ns)

    def _kinds(self) -> list[Kind]:
        offered = VENUES[self.emulator.name].kinds
        return [kind for kind in (TRADES, QUOTES, DEPTH) if kind.name in offered]

    def _count(self, kind: Kind) -> int:
        with QuestReader(self.settings) as reader:
            found = reader.fetch(
                f"SELECT count() FROM {kind.name} WHERE venue = %s AND symbol = %s "  # noqa: S608
                "AND ts_event >= cast(%s AS timestamp_ns) AND ts_event < cast(%s AS timestamp_ns)",
                [self.venue, self.symbol, self.start_ns, self.end_ns],
            )
        return int(found[0][0])

    def _read(self, kind: Kind) -> Iterator[RecordedMessage]:
        before = 0
        with QuestReader(self.settings) as reader:
            for page in reader.rows(kind, self.venue, [self.symbol], self.start_ns, self.end_ns):
                batch = _batch(kind, self.venue, page)
                if kind is TRADES and self.emulator.name != self.venue.removeprefix("replay_"):
                    # The protocol's ids rise by one; numbers made from time do not.
                    ids = np.arange(before, before + batch.rows, dtype=np.int64)
                    batch = replace(batch, columns={**batch.columns, "seq": ids})
                before += batch.rows
                yield from self.emulator.encode([batch])


def _batch(kind: Kind, venue: str, rows: pl.DataFrame) -> Batch:
    """Stored rows as a batch."""
    columns: dict[str, ColumnData] = {}
    for column in kind.columns:
        series = rows[column.name]
        if column.type in ("symbol", "text"):
            columns[column.name] = Strings.of(series.to_list())
        elif column.type == "doubles":
            columns[column.name] = Lists.of(series.to_list())
        else:
            absent: Any = np.nan if column.type == "double" else NULL_LONG if column.type == "long" else 0
            plain = series.cast(pl.Int64) if column.type == "time" else series
            columns[column.name] = plain.fill_null(absent).to_numpy().astype(column.types.numpy)
    del columns["venue"]
    return Batch(kind, venue, rows.height, columns)
