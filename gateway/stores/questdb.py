"""QuestDB, the hot store: rows by its Parquet export over HTTP, small results over the PostgreSQL wire."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from gateway import arrow
from gateway.query import Query, RowKey
from gateway.stores.candle_rows import read_candles, trades_query
from gateway.stores.contract import DaySize, Page, always_hot_from, symbols_frame
from gateway.stores.questdb_series import count_trades, read_series
from tapehouse.clock import DAY, INTERVALS, MAX_TS, now_ns, parse_ns
from tapehouse.model import ACCOUNT_CANDLES, ACCOUNT_TRADES, BARS, NO_BAR, TRADES, Kind
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader, is_one_of
from tapehouse.stores.questdb_bars import (
    BarPiece,
    RefreshedViews,
    ShownTransactions,
    bars_statement,
    is_made_of_days,
    is_made_of_trades,
    read_refreshed_since,
    read_shown,
)
from tapehouse.stores.questdb_export import QuestExport, render_statement

_TIMEOUT_S = 30.0
_TIE_ROWS = 16
_SHOWN_S = 1.0
"""So long what the views show is not read again; until then a few more minutes are read from the trades."""
_NOTHING_SHOWN = ShownTransactions(None, 0)
_MAX_WIRE_BARS = 2_000
"""Up to this many bars the PostgreSQL wire is faster than a Parquet export."""
_TIME_FILTER = "{time} >= cast(%s AS timestamp_ns) AND {time} < cast(%s AS timestamp_ns)"
Parameters = list[str | int]


class QuestDBStore:
    """The hot store; implements `Store`."""

    name = "questdb"

    def __init__(self, settings: QuestDB, timeout_s: float = _TIMEOUT_S) -> None:
        self._settings = settings
        self._timeout = timeout_s
        self._export = QuestExport(settings, timeout_s)
        self._idle: deque[QuestReader] = deque()
        """Open connections that no thread is using."""
        self._shown: dict[bool, tuple[float, ShownTransactions]] = {}
        """What the views showed, with or without the daily one, and when it was read by the monotonic clock."""
        self._refreshed: dict[bool, tuple[int, RefreshedViews]] = {}
        """The spans that the views showed whole, with or without the daily one, and when, ns, that began to be read."""

    def close(self) -> None:
        """Close all connections."""
        self._export.close()
        while self._idle:
            self._idle.pop().close()

    def check_health(self) -> None:
        """Raise ConnectError unless QuestDB answers."""
        self._fetch("SELECT 1")

    def wait_visible(self, kind: Kind) -> None:
        """Wait until all rows of a kind that are committed can be read. Raises ConnectError, TapehouseError."""
        with self._reader() as reader:
            reader.wait_applied(kind.name)

    def day_sizes(self, kind: Kind) -> Mapping[int, DaySize]:
        """The size of each stored day, from the table's partitions."""
        with self._reader() as reader:
            days = reader.day_partitions(kind)
        return {parse_ns(day): DaySize(found.rows, found.bytes) for day, found in days.items()}

    def oldest_time(self, kind: Kind) -> int:
        """The oldest stored time, ns; MAX_TS if there are no rows."""
        # For an empty table min() may return no row.
        found = self._fetch(f"SELECT cast(min({kind.time}) AS long) FROM {kind.name}")
        return MAX_TS if not found or found[0][0] is None else int(found[0][0])

    def read(self, query: Query, start_ns: int, end_ns: int, after: RowKey | None, most: int) -> Page:
        """The first rows of a span after a key; a page has all rows of a timestamp or none."""
        kind = query.source_kind
        wanted = arrow.schema(kind.name, query.read_columns)
        first = start_ns if after is None else max(start_ns, int(after[0]))
        while True:
            statement, bound = self._rows(query, query.fetched_columns, first, end_ns)
            # Rows of the last timestamp are dropped below; the extra rows make up for them.
            table = self._export.table(f"{statement} LIMIT %s", [*bound, most + _TIE_ROWS])
            batch = arrow.conform_to_schema(table, wanted, self.name, query.constant_columns)
            is_last = batch.num_rows < most + _TIE_ROWS
            if not is_last:
                # Rows of the last timestamp may be missing here.
                times = arrow.times_ns(batch, kind)
                batch = batch.slice(0, int(np.searchsorted(times, times[-1])))
            batch = arrow.rows_after(arrow.sort_by_key(batch, kind, query.constant_columns), kind, after)
            if is_last or batch.num_rows:
                return Page(batch, is_last, self._oldest(kind, start_ns))
            most *= 2

    def bars(
        self, query: Query, start_ns: int, end_ns: int, unchanged_since_ns: int | None = None
    ) -> tuple[pa.RecordBatch, int | None]:
        """Bars of the smallest view that has the interval's bars, of the trades where it is not refreshed."""
        assert query.interval is not None
        interval, wanted = INTERVALS[query.interval], arrow.schema(BARS.name, BARS.names)
        views = self._refreshed_views(query.interval, unchanged_since_ns)
        pieces = views.pieces(query.interval, start_ns, end_ns)
        statement, bound = _bars_statement(query, pieces)
        if (end_ns - start_ns) // interval.length * len(query.symbols) <= _MAX_WIRE_BARS:
            constants = query.constant_columns
            rest = ", ".join(name for name in BARS.names[1:] if name not in constants)
            rows = self._fetch(f"SELECT cast(ts AS long), {rest} FROM ({statement})", bound)
            batch = arrow.batch_from_rows(rows, wanted, constants)
        else:
            batch = arrow.conform_to_schema(self._export.table(statement, bound), wanted, self.name)
        if len(query.symbols) > 1:
            batch = arrow.sort_by_key(batch, BARS)
        if batch.num_rows and len(pieces) == 1 and start_ns // DAY == (end_ns - 1) // DAY:
            # The rows of a day leave together: one of them shows that they were there.
            return batch, None
        return batch, self._oldest(TRADES, start_ns)

    def account_candles(self, query: Query, start_ns: int, end_ns: int) -> tuple[pa.RecordBatch, int | None]:
        """Candles aggregated in the gateway from the rows; see `docs/account-trades.md` for why not in QuestDB."""
        return read_candles(self.read, query, start_ns, end_ns)

    def count_newest(self, query: Query, start_ns: int, end_ns: int, count: int) -> tuple[int, int]:
        """The number of newest rows, `count` at most, and the time of the oldest of them."""
        kind = query.source_kind
        statement, bound = self._rows(query, (kind.time,), start_ns, end_ns, descending=True)
        rows = self._export.table(f"{statement} LIMIT %s", [*bound, count])
        if rows.num_rows == 0:
            return 0, end_ns
        return rows.num_rows, int(rows.column(0)[-1].value)

    def last_bar_time(self, query: Query, symbol: str, start_ns: int, end_ns: int) -> int | None:
        """A time, ns, within a symbol's last bar in the span; None if there is none."""
        assert query.interval is not None
        views = self._refreshed_views(query.interval)
        with self._reader() as reader:
            for piece in reversed(views.pieces(query.interval, start_ns, end_ns)):
                found = reader.fetch(
                    f"SELECT cast({piece.time} AS long) FROM (SELECT {piece.time} FROM {piece.source} "
                    f"WHERE venue = %s AND symbol = %s AND {piece.condition} ORDER BY {piece.time} DESC LIMIT 1)",
                    [query.venue, symbol, piece.start_ns, piece.end_ns],
                )
                if found:
                    return int(found[0][0])
        return None

    def latest(self, venue: str, symbols: Sequence[str]) -> pa.Table:
        """Each symbol's last trade that counts in bars; of several at its time the one with the highest seq."""
        wanted = arrow.schema(TRADES.name, TRADES.names)
        if not symbols:
            return wanted.empty_table()
        where, bound = _row_filter(TRADES, venue, symbols)
        where += f"(flags & {int(NO_BAR)}) = 0 AND "
        columns = ", ".join(TRADES.names)
        # LATEST ON returns any one of the rows that share a symbol's last time.
        times = self._fetch(
            f"SELECT DISTINCT cast(ts_event AS long) FROM (SELECT ts_event, symbol FROM trades WHERE {where}true "
            "LATEST ON ts_event PARTITION BY symbol)",
            bound,
        )
        if not times:
            return wanted.empty_table()
        instants = ", ".join(["cast(%s AS timestamp_ns)"] * len(times))
        rows = self._export.table(
            f"SELECT {columns} FROM trades WHERE {where}ts_event IN ({instants})",
            [*bound, *(int(time) for (time,) in times)],
        )
        found = pl.DataFrame(pl.from_arrow(arrow.conform_to_schema(rows, wanted, self.name)))
        last = found.sort("ts_event", "seq").unique("symbol", keep="last").sort("symbol")
        return pa.Table.from_batches([arrow.batch_from_frame(last, wanted)])

    def symbols(self, kind: Kind, start_ns: int, end_ns: int, *, exact: bool) -> pl.DataFrame:
        """The series in a span; trades are found by their bars."""
        if kind is not TRADES:
            return symbols_frame(
                self._fetch(
                    f"SELECT venue, symbol, cast(min({kind.time}) AS long), cast(max({kind.time}) AS long), count() "
                    f"FROM {kind.name} WHERE {_TIME_FILTER.format(time=kind.time)} ORDER BY venue, symbol",
                    [start_ns, end_ns],
                )
            )
        with self._reader() as reader:
            return read_series(reader, start_ns, end_ns, exact=exact)

    def count_rows(self, query: Query, start_ns: int, end_ns: int) -> int | None:
        """The trades that count in bars, counted by the daily bars; None for other kinds, whose rows would be read."""
        if query.source_kind is not TRADES:
            return None
        where, bound = _row_filter(TRADES, query.venue, query.symbols)
        with self._reader() as reader:
            return count_trades(reader, where, bound, start_ns, end_ns)

    def statement(self, query: Query, start_ns: int, end_ns: int) -> str:
        """The SQL for a span with its values inlined."""
        if query.kind == "bars":
            assert query.interval is not None
            pieces = self._refreshed_views(query.interval).pieces(query.interval, start_ns, end_ns)
            return render_statement(*_bars_statement(query, pieces))
        if query.kind == ACCOUNT_CANDLES.name:
            query = trades_query(query)
        return render_statement(*self._rows(query, query.fetched_columns, start_ns, end_ns))

    def _rows(
        self, query: Query, names: Sequence[str], start_ns: int, end_ns: int, descending: bool = False
    ) -> tuple[str, Parameters]:
        kind = query.source_kind
        where, bound = _row_filter(kind, query.venue, query.symbols)
        flags = f" AND (flags & {query.flags:d}) = 0" if query.flags else ""
        return (
            f"SELECT {', '.join(names)} FROM {kind.name} "
            f"WHERE {where}{_TIME_FILTER.format(time=kind.time)}{flags} "
            f"ORDER BY {kind.time}{' DESC' if descending else ''}",
            [*bound, start_ns, end_ns],
        )

    def _refreshed_views(self, interval: str, unchanged_since_ns: int | None = None) -> RefreshedViews:
        if is_made_of_trades(interval):
            return RefreshedViews((), 0)
        daily = is_made_of_days(interval)
        read_at, views = self._refreshed.get(daily, (0, None))
        if views is not None and unchanged_since_ns is not None and read_at > unchanged_since_ns:
            return views
        began = now_ns()
        with self._reader() as reader:
            shown_at, shown = self._shown.get(daily, (-math.inf, _NOTHING_SHOWN))
            if shown_at + _SHOWN_S < time.monotonic():
                shown_at, shown = time.monotonic(), read_shown(reader, daily=daily)
                self._shown[daily] = shown_at, shown
            views = read_refreshed_since(reader, shown)
        self._refreshed[daily] = began, views
        return views

    def _oldest(self, kind: Kind, start_ns: int) -> int | None:
        return None if start_ns >= always_hot_from(now_ns()) else self.oldest_time(kind)

    def _fetch(self, statement: str, bound: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._reader() as reader:
            return reader.fetch(statement, bound)

    @contextmanager
    def _reader(self) -> Iterator[QuestReader]:
        """An idle connection, or a new one, for the length of the context."""
        # The most recently used one is the most likely to have the statement prepared.
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = QuestReader(self._settings, self._timeout)
        try:
            yield reader
        finally:
            self._idle.append(reader)


def _bars_statement(query: Query, pieces: Sequence[BarPiece]) -> tuple[str, Parameters]:
    assert query.interval is not None
    where, bound = _row_filter(TRADES, query.venue, query.symbols)
    return bars_statement(pieces, INTERVALS[query.interval], where, bound)


def _row_filter(kind: Kind, venue: str, symbols: Sequence[str]) -> tuple[str, Parameters]:
    """The WHERE condition of a venue and symbols, with a trailing AND, and its parameters."""
    if kind is ACCOUNT_TRADES:
        return f"{is_one_of('account_id', len(symbols))} AND ", [int(account) for account in symbols]
    where, bound = "", Parameters()
    if venue:
        where, bound = "venue = %s AND ", [venue]
    if symbols:
        where, bound = f"{where}{is_one_of('symbol', len(symbols))} AND ", [*bound, *symbols]
    return where, bound
