"""What a database must do to answer queries.

A store owns its connections and may be called by several threads at a time. It answers for what it holds and knows
nothing of the other stores: which of them is asked for which span is the plan's, and the order of answers over
several is the merge's. Every call ends within the store's time-out. All raise ConnectError where the database does
not answer or is cut off in the middle, TapehouseError where it refuses; never is an answer short in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl
import pyarrow as pa

from gateway.query import Key, Query
from tapehouse.clock import DAY
from tapehouse.model import Kind


@dataclass(frozen=True)
class Held:
    """What a store holds of a day: rows, and bytes on its disk."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class Page:
    """Rows in the order of the kind's key: the query's columns and those of the key, in the model's order."""

    batch: pa.RecordBatch
    ended: bool
    """Whether nothing of the span is behind these rows."""
    oldest_ns: int | None = None
    """`oldest` once the rows were read; None where it cannot matter."""


def stays_from(now: int) -> int:
    """From when on rows never leave the hot store: today's and the day before's, however few days are kept."""
    return now // DAY * DAY - DAY


class Store(Protocol):
    """One database. Spans are half-open, in ns UTC."""

    name: str

    def coverage(self, kind: Kind) -> Mapping[int, Held]:
        """By the start of each UTC day (ns) what is held of it; days without rows are left out."""

    def oldest(self, kind: Kind) -> int:
        """The oldest time held; MAX_TS where nothing is."""

    def read(self, query: Query, start_ns: int, end_ns: int, after: Key | None, most: int) -> Page:
        """The rows of a query (not for bars) in [start_ns, end_ns) behind the key `after`, the first about `most`.

        At least one row where there is any; flags are applied, limits are not.
        """

    def bars(self, query: Query, start_ns: int, end_ns: int) -> tuple[pa.RecordBatch, int | None]:
        """The bars of the trades in [start_ns, end_ns), all columns, by time, symbol; and `Page.oldest_ns`.

        Where the span cuts a bar it is a part of one: of that bar's trades in the span.
        """

    def newest(self, query: Query, start_ns: int, end_ns: int, count: int) -> tuple[int, int]:
        """(how many of the newest rows are in [start_ns, end_ns), `count` at most; the time of the oldest of them).

        Not for bars. (0, end_ns) where there are none.
        """

    def last_bar(self, query: Query, symbol: str, start_ns: int, end_ns: int) -> int | None:
        """A time in the last bar of a symbol that has its beginning or a trade in the span; None where none has."""

    def latest(self, venue: str, symbols: Sequence[str]) -> pa.Table:
        """The last trade of each symbol that takes part in bars: all columns of trades."""

    def symbols(self, kind: Kind, start_ns: int, end_ns: int) -> pl.DataFrame:
        """What there is of a kind in a span: venue, symbol, first and last (Datetime ns UTC, or their days), rows."""

    def statement(self, query: Query, start_ns: int, end_ns: int) -> str:
        """What the database would be asked for the first rows or the bars of a span, for people."""

    def health(self) -> None:
        """Return when it answers; raise ConnectError when it does not."""

    def close(self) -> None:
        """Close the connections; the next call opens others."""
