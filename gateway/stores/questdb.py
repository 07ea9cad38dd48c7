"""The hot store's answers: rows by its Parquet export, few numbers over its PostgreSQL wire."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from gateway import arrow
from gateway.query import Key, Query
from gateway.stores.contract import Held, Page, stays_from
from tapehouse.clock import INTERVALS, MAX_TS, Interval, now_ns, parse_ns
from tapehouse.model import ACCOUNT_TRADES, BARS, NO_BAR, TRADES, Kind
from tapehouse.questdb import QuestReader, bar_source, made_of
from tapehouse.questexport import QuestExport, written
from tapehouse.settings import QuestDB
from tapehouse.tabular import TIME

_TIMEOUT_S = 30.0
_TIES = 16
_FEW_BARS = 2_000
"""Up to so many the PostgreSQL wire is quicker than a file."""
_SPAN = "{time} >= cast(%s AS timestamp_ns) AND {time} < cast(%s AS timestamp_ns)"
Bound = list[str | int]


class QuestStore:
    """QuestDB as a `Store`; see there."""

    name = "questdb"

    def __init__(self, settings: QuestDB, timeout_s: float = _TIMEOUT_S) -> None:
        self._settings = settings
        self._timeout = timeout_s
        self._export = QuestExport(settings, timeout_s)
        self._idle: deque[QuestReader] = deque()
        """Connections that no thread uses now."""

    def close(self) -> None:
        """Close all connections."""
        self._export.close()
        while self._idle:
            self._idle.pop().close()

    def health(self) -> None:
        """Return when it answers."""
        self._fetch("SELECT 1")

    def coverage(self, kind: Kind) -> Mapping[int, Held]:
        """By day what is held, by its partitions."""
        days: dict[int, Held] = {}
        found = self._fetch(f"SELECT name, numRows, diskSize FROM table_partitions('{kind.name}')")
        for name, rows, size in found:
            if rows:
                # A partition may be split: the names of its parts begin with its own.
                day = parse_ns(name[:10])
                before = days.get(day, Held(0, 0))
                days[day] = Held(before.rows + rows, before.bytes + size)
        return days

    def oldest(self, kind: Kind) -> int:
        """The oldest time held."""
        # An empty table has no row of a minimum.
        found = self._fetch(f"SELECT cast(min({kind.time}) AS long) FROM {kind.name}")
        return MAX_TS if not found or found[0][0] is None else int(found[0][0])

    def read(self, query: Query, start_ns: int, end_ns: int, after: Key | None, most: int) -> Page:
        """The first rows of a span behind a key; a timestamp is never cut."""
        kind = query.rows_kind
        wanted = arrow.schema(kind.name, query.read_names)
        first = start_ns if after is None else max(start_ns, int(after[0]))
        while True:
            statement, bound = self._rows(query, query.fetched_names, first, end_ns)
            # Of its last timestamp none is used: so there are as many as are wanted even so.
            table = self._export.table(f"{statement} LIMIT %s", [*bound, most + _TIES])
            batch = arrow.conformed(table, wanted, self.name, query.same)
            ended = batch.num_rows < most + _TIES
            if not ended:
                # The last timestamp may have more rows than are here.
                times = arrow.times_of(batch, kind)
                batch = batch.slice(0, int(np.searchsorted(times, times[-1])))
            batch = arrow.behind(arrow.in_order(batch, kind, query.same), kind, after)
            if ended or batch.num_rows:
                return Page(batch, ended, self._oldest(kind, start_ns))
            most *= 2

    def bars(self, query: Query, start_ns: int, end_ns: int) -> tuple[pa.RecordBatch, int | None]:
        """Bars sampled from the smallest view that holds them."""
        assert query.interval is not None
        interval, wanted = INTERVALS[query.interval], arrow.schema(BARS.name, BARS.names)
        statement, bound = _bars(query, interval, start_ns, end_ns)
        if (end_ns - start_ns) // interval.length * len(query.symbols) <= _FEW_BARS:
            same = query.same
            rest = ", ".join(name for name in BARS.names[1:] if name not in same)
            rows = self._fetch(f"SELECT cast(ts AS long), {rest} FROM ({statement})", bound)
            batch = arrow.of_rows(rows, wanted, same)
        else:
            batch = arrow.conformed(self._export.table(statement, bound), wanted, self.name)
        if len(query.symbols) > 1:
            batch = arrow.in_order(batch, BARS)
        return batch, self._oldest(TRADES, start_ns)

    def newest(self, query: Query, start_ns: int, end_ns: int, count: int) -> tuple[int, int]:
        """How many newest rows there are, and the time of the oldest of them."""
        kind = query.rows_kind
        statement, bound = self._rows(query, (kind.time,), start_ns, end_ns, descending=True)
        rows = self._export.table(f"{statement} LIMIT %s", [*bound, count])
        if rows.num_rows == 0:
            return 0, end_ns
        return rows.num_rows, int(rows.column(0)[-1].value)

    def last_bar(self, query: Query, symbol: str, start_ns: int, end_ns: int) -> int | None:
        """A time in the last bar of a symbol in a span."""
        assert query.interval is not None
        table = bar_source(query.interval)
        time, _ = made_of(table)
        counted = f"(flags & {int(NO_BAR)}) = 0 AND " if table == TRADES.name else ""
        found = self._fetch(
            f"SELECT cast({time} AS long) FROM (SELECT {time} FROM {table} WHERE {counted}venue = %s "
            f"AND symbol = %s AND {_SPAN.format(time=time)} ORDER BY {time} DESC LIMIT 1)",
            [query.venue, symbol, start_ns, end_ns],
        )
        return int(found[0][0]) if found else None

    def latest(self, venue: str, symbols: Sequence[str]) -> pa.Table:
        """The last trade of each symbol that takes part in bars: of several at its time that of the highest seq."""
        wanted = arrow.schema(TRADES.name, TRADES.names)
        if not symbols:
            return wanted.empty_table()
        where, bound = _of(TRADES, venue, symbols)
        where += f"(flags & {int(NO_BAR)}) = 0 AND "
        columns = ", ".join(TRADES.names)
        # LATEST ON takes any of the rows that share a symbol's last time.
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
        found = pl.DataFrame(pl.from_arrow(arrow.conformed(rows, wanted, self.name)))
        last = found.sort("ts_event", "seq").unique("symbol", keep="last").sort("symbol")
        return pa.Table.from_batches([arrow.as_batch(last, wanted)])

    def symbols(self, kind: Kind, start_ns: int, end_ns: int) -> pl.DataFrame:
        """What there is; of trades by the daily bars, without those that take part in none."""
        source, time, rows = (kind.name, kind.time, "count()")
        if kind is TRADES:
            source, time, rows = ("bars_1d", "ts", "sum(trades)")
        found = self._fetch(
            f"SELECT venue, symbol, cast(min({time}) AS long), cast(max({time}) AS long), {rows} "
            f"FROM {source} WHERE {_SPAN.format(time=time)} ORDER BY venue, symbol",
            [start_ns, end_ns],
        )
        return listed(found)

    def statement(self, query: Query, start_ns: int, end_ns: int) -> str:
        """The statement of a span, its values written out."""
        if query.kind == "bars":
            assert query.interval is not None
            return written(*_bars(query, INTERVALS[query.interval], start_ns, end_ns))
        return written(*self._rows(query, query.fetched_names, start_ns, end_ns))

    def _rows(
        self, query: Query, names: Sequence[str], start_ns: int, end_ns: int, descending: bool = False
    ) -> tuple[str, Bound]:
        kind = query.rows_kind
        where, bound = _of(kind, query.venue, query.symbols)
        flags = f" AND (flags & {query.flags:d}) = 0" if query.flags else ""
        return (
            f"SELECT {', '.join(names)} FROM {kind.name} "
            f"WHERE {where}{_SPAN.format(time=kind.time)}{flags} "
            f"ORDER BY {kind.time}{' DESC' if descending else ''}",
            [*bound, start_ns, end_ns],
        )

    def _oldest(self, kind: Kind, start_ns: int) -> int | None:
        return None if start_ns >= stays_from(now_ns()) else self.oldest(kind)

    def _fetch(self, statement: str, bound: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        # The one used last is the likeliest to know the statement.
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = QuestReader(self._settings, self._timeout)
        try:
            return reader.fetch(statement, bound)
        finally:
            self._idle.append(reader)


def listed(rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Rows of (venue, symbol, first, last, rows), times in ns, as `Store.symbols` gives them."""
    frame = pl.DataFrame(
        rows,
        {"venue": pl.String, "symbol": pl.String, "first": pl.Int64, "last": pl.Int64, "rows": pl.Int64},
        orient="row",
    )
    return frame.with_columns(pl.col("first", "last").cast(TIME))


def _of(kind: Kind, venue: str, symbols: Sequence[str]) -> tuple[str, Bound]:
    """What chooses the rows of symbols, up to and including AND."""
    if kind is ACCOUNT_TRADES:
        return f"account_id IN ({_places(symbols)}) AND ", [int(account) for account in symbols]
    where, bound = "", Bound()
    if venue:
        where, bound = "venue = %s AND ", [venue]
    if symbols:
        where, bound = f"{where}symbol IN ({_places(symbols)}) AND ", [*bound, *symbols]
    return where, bound


def _places(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))


def _bars(query: Query, interval: Interval, start_ns: int, end_ns: int) -> tuple[str, Bound]:
    source = bar_source(interval.name)
    time, made = made_of(source)
    where, bound = _of(TRADES, query.venue, query.symbols)
    where += _SPAN.format(time=time)
    if source == f"bars_{interval.name}":
        columns = ", ".join(BARS.names)
        statement = f"SELECT {columns} FROM {source} WHERE {where} ORDER BY ts"
    else:
        statement = (
            f"SELECT {time} AS ts, venue, symbol, {made} {where} "
            f"SAMPLE BY {interval.questdb} ALIGN TO CALENDAR ORDER BY ts"
        )
    return statement, [*bound, start_ns, end_ns]
