"""What is stored, as a recording to replay: VENUE/SYMBOL@START..END."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from ingest.feeds.dialect import Dialect, Recorded
from ingest.feeds.dialects import DIALECTS
from ingest.feeds.venue import Stream
from ingest.feeds.venues import VENUES
from tapehouse.batch import Batch, ColumnData, Lists, Strings
from tapehouse.clock import parse_ns
from tapehouse.errors import SourceError, UsageError
from tapehouse.model import DEPTH, NULL_LONG, QUOTES, TRADES, Kind
from tapehouse.questdb import QuestReader
from tapehouse.settings import QuestDB

_SPAN = re.compile(r"(?P<venue>[^/]+)/(?P<symbol>.+)@(?P<start>.+)\.\.(?P<end>.+)")
_SPOKEN = "binance_usdm"
"""The protocol of rows whose own venue has none: all its messages carry the venue's time."""


@dataclass(frozen=True)
class Span:
    """Rows of one venue and symbol with start_ns <= ts_event < end_ns."""

    settings: QuestDB
    venue: str
    symbol: str
    start_ns: int
    end_ns: int

    @classmethod
    def of(cls, text: str, settings: QuestDB) -> Span | None:
        """From VENUE/SYMBOL@START..END; None where `text` is not of this form.

        Raises UsageError where a time cannot be read.
        """
        found = _SPAN.fullmatch(text)
        if found is None:
            return None
        span = cls(
            settings, found["venue"], found["symbol"], parse_ns(found["start"]), parse_ns(found["end"])
        )
        if span.start_ns >= span.end_ns:
            raise UsageError(f"replay: expected an end after the start, was {text}")
        return span

    @property
    def dialect(self) -> Dialect:
        """Its venue's own, where there is one."""
        return DIALECTS.get(self.venue.removeprefix("replay_"), DIALECTS[_SPOKEN])

    @property
    def symbols(self) -> list[str]:
        """The one symbol."""
        return [self.symbol]

    @property
    def streams(self) -> frozenset[Stream]:
        """The kinds that have rows; SourceError where there are none."""
        kinds = [kind for kind in self._kinds() if self._count(kind)]
        if not kinds:
            raise SourceError(
                f"replay: expected rows of {self.symbol} on {self.venue} in the span, was none",
                remedy="Look with `tapehouse query` what is stored.",
            )
        return frozenset(Stream(kind.name, self.symbol) for kind in kinds)

    @property
    def lines(self) -> int:
        """How many rows there are."""
        return sum(self._count(kind) for kind in self._kinds())

    def read(self) -> Iterator[Recorded]:
        """The rows as messages, by time received as far as a page of them shows it."""
        yield from heapq.merge(*(self._read(kind) for kind in self._kinds()), key=lambda item: item.at_ns)

    def _kinds(self) -> list[Kind]:
        offered = VENUES[self.dialect.name].kinds
        return [kind for kind in (TRADES, QUOTES, DEPTH) if kind.name in offered]

    def _count(self, kind: Kind) -> int:
        with QuestReader(self.settings) as reader:
            found = reader.fetch(
                f"SELECT count() FROM {kind.name} WHERE venue = %s AND symbol = %s "  # noqa: S608
                "AND ts_event >= cast(%s AS timestamp_ns) AND ts_event < cast(%s AS timestamp_ns)",
                [self.venue, self.symbol, self.start_ns, self.end_ns],
            )
        return int(found[0][0])

    def _read(self, kind: Kind) -> Iterator[Recorded]:
        before = 0
        with QuestReader(self.settings) as reader:
            for page in reader.rows(kind, self.venue, [self.symbol], self.start_ns, self.end_ns):
                batch = _batch(kind, self.venue, page)
                if kind is TRADES and self.dialect.name != self.venue.removeprefix("replay_"):
                    # Numbers made from time are not contiguous, as the protocol's ids are.
                    ids = np.arange(before, before + batch.rows, dtype=np.int64)
                    batch = replace(batch, columns={**batch.columns, "seq": ids})
                before += batch.rows
                yield from self.dialect.render([batch])


def _batch(kind: Kind, venue: str, rows: pl.DataFrame) -> Batch:
    """Rows as they are stored -> a batch."""
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
