"""The contract of a store: what a database must implement to answer queries.

A store owns its connections and is thread-safe. It answers from its own rows only: which store reads which span is
decided by the plan, and answers of several stores are combined by the merge. Every call ends within the store's
time-out. All methods raise ConnectError if the database does not answer or the response is cut off, TapehouseError if
it rejects the statement; no method returns an incomplete answer without an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from gateway.query import Query, RowKey
from tapehouse.clock import DAY
from tapehouse.model import Kind
from tapehouse.tabular import TIME


@dataclass(frozen=True)
class DaySize:
    """The size of a UTC day in a store: rows, and bytes on its disk."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class Page:
    """Rows sorted by the kind's key: the query's columns and the key columns, in the model's order."""

    batch: pa.RecordBatch
    is_last: bool
    """Whether the span has no rows after these."""
    oldest_ns: int | None = None
    """The store's oldest time, ns, read after the rows; None if no row of the span can have been removed."""


def always_hot_from(now: int) -> int:
    """The time, ns, from which rows never leave the hot store: the start of yesterday, UTC."""
    return now // DAY * DAY - DAY


def symbols_frame(rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """The frame that `Store.symbols` returns, from rows of (venue, symbol, first, last, rows) with times in ns."""
    frame = pl.DataFrame(
        rows,
        {"venue": pl.String, "symbol": pl.String, "first": pl.Int64, "last": pl.Int64, "rows": pl.Int64},
        orient="row",
    )
    return frame.with_columns(pl.col("first", "last").cast(TIME))


class Store(Protocol):
    """One database. Spans are half-open: [start_ns, end_ns), ns UTC."""

    name: str

    def day_sizes(self, kind: Kind) -> Mapping[int, DaySize]:
        """The size of each stored UTC day by its start in ns; days without rows are left out."""

    def oldest_time(self, kind: Kind) -> int:
        """The oldest stored time of a kind, ns; MAX_TS if there are no rows."""

    def read(self, query: Query, start_ns: int, end_ns: int, after: RowKey | None, most: int) -> Page:
        """The first rows, about `most`, of a query (not of bars or candles) in the span, with keys above `after`.

        At least one row if there is any. The query's flags are applied, its limit is not.
        """

    def bars(
        self, query: Query, start_ns: int, end_ns: int, unchanged_since_ns: int | None = None
    ) -> tuple[pa.RecordBatch, int | None]:
        """The bars of the trades in the span, all columns, sorted by time and symbol; and `Page.oldest_ns`.

        A bar that reaches beyond the span is made of its trades in the span only. `unchanged_since_ns`: a time since
        which no trade of the span has been written; None if that is not known.
        """

    def account_candles(self, query: Query, start_ns: int, end_ns: int) -> tuple[pa.RecordBatch, int | None]:
        """The candles of the account trades in the span, as `gateway.candles.PARTS`; and `Page.oldest_ns`.

        Sorted by time and account. A candle that reaches beyond the span is made of its trades in the span only: those
        of two adjacent spans, put together in order of time, are exactly the candles of both. `volume` has 76 digits,
        since the sum of a part may not fit in 38 where that of the whole does.
        """

    def count_newest(self, query: Query, start_ns: int, end_ns: int, count: int) -> tuple[int, int]:
        """(number of newest source rows in the span, `count` at most; time in ns of the oldest of them). Not for bars.

        (0, end_ns) if there are none.
        """

    def last_bar_time(self, query: Query, symbol: str, start_ns: int, end_ns: int) -> int | None:
        """A time, ns, within a symbol's last bar that starts or has a trade in the span; None if there is none."""

    def latest(self, venue: str, symbols: Sequence[str]) -> pa.Table:
        """Each symbol's last trade that counts in bars: all columns of trades; no row for an unknown symbol."""

    def symbols(self, kind: Kind, start_ns: int, end_ns: int, *, exact: bool) -> pl.DataFrame:
        """The series of a kind in a span of days: venue, symbol, first and last (Datetime ns UTC), rows.

        Of trades those that count in bars. Without `exact` the times may be the starts of their days.
        """

    def count_rows(self, query: Query, start_ns: int, end_ns: int) -> int | None:
        """The rows of the query's source kind and names in the span, whatever their flags; None if that is not cheap.

        Of trades those that count in bars.
        """

    def statement(self, query: Query, start_ns: int, end_ns: int) -> str:
        """The SQL that reads the first rows, the bars or the candles of a span, for display."""

    def check_health(self) -> None:
        """Raise ConnectError unless the database answers."""

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
