"""The hot store's answers: QuestDB over its PostgreSQL wire, by the account that may only read."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl
import psycopg

from gateway.query import Query
from tapehouse.clock import INTERVALS, Interval, now_ns
from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.model import BARS, KINDS, NO_BAR, Column, Kind
from tapehouse.settings import QuestDB

PAGE_ROWS = 100_000
_POLARS: dict[str, Any] = {
    "time": pl.Int64,
    "symbol": pl.String,
    "long": pl.Int64,
    "byte": pl.Int8,
    "short": pl.Int16,
    "double": pl.Float64,
    "flag": pl.Boolean,
}
_TIME = pl.Datetime("ns", "UTC")

# What makes a bar of rows of trades, and of smaller bars; the materialized views use the same.
_OF_TRADES = f"""arg_min(price, seq) AS open, max(price) AS high, min(price) AS low,
    arg_max(price, seq) AS close, sum(size) AS volume, sum(price * size) AS turnover, count() AS trades,
    sum(CASE WHEN side = 1 THEN size ELSE 0.0 END) AS buy_volume, min(seq) AS seq_first, max(seq) AS seq_last
    FROM trades WHERE (flags & {int(NO_BAR)}) = 0 AND"""
_OF_BARS = """arg_min(open, seq_first) AS open, max(high) AS high, min(low) AS low,
    arg_max(close, seq_last) AS close, sum(volume) AS volume, sum(turnover) AS turnover,
    sum(trades) AS trades, sum(buy_volume) AS buy_volume, min(seq_first) AS seq_first, max(seq_last) AS seq_last
    FROM {view} WHERE"""
_SOURCES = {"15s": None, "30s": None, "1d": "bars_1d", "1w": "bars_1d", "1M": "bars_1d"}


class QuestStore:
    """Reads from QuestDB. One connection, for one caller at a time."""

    def __init__(self, settings: QuestDB) -> None:
        self._settings = settings
        self._address = f"{settings.host}:{settings.pg_port}"
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next read opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def read(self, query: Query) -> pl.DataFrame:
        """The whole answer: the model's columns, times as Datetime(ns, UTC), ordered by the key."""
        pages = list(self.stream(query))
        return pl.concat(pages) if pages else _empty(KINDS[query.kind])

    def stream(self, query: Query) -> Iterator[pl.DataFrame]:
        """The answer in frames of about 100,000 rows; bars come as one frame."""
        if query.kind == "bars":
            yield self._bars(query)
            return
        kind = KINDS[query.kind]
        yield from self.rows(kind, query.venue, [query.symbol], query.start_ns, query.end_ns)

    def rows(
        self, kind: Kind, venue: str, symbols: list[str], start_ns: int, end_ns: int
    ) -> Iterator[pl.DataFrame]:
        """Rows of a kind with start_ns <= time < end_ns, in frames ordered by (time, symbol, seq).

        A frame never ends inside a timestamp, so each is ordered though QuestDB orders by time alone.
        """
        columns = ", ".join(_selected(column) for column in kind.columns)
        places = ", ".join(["%s"] * len(symbols))
        statement = (
            f"SELECT {columns} FROM {kind.name} WHERE venue = %s AND symbol IN ({places}) "  # noqa: S608
            f"AND {kind.time} >= cast(%s AS timestamp_ns) AND {kind.time} < cast(%s AS timestamp_ns) "
            f"ORDER BY {kind.time} LIMIT %s"
        )
        limit = PAGE_ROWS
        while start_ns < end_ns:
            rows = self._fetch(statement, [venue, *symbols, start_ns, end_ns, limit])
            full = len(rows) == limit
            times = [row[0] for row in rows]
            if full and times[0] == times[-1]:
                limit *= 2
                continue
            if full:
                start_ns = times[-1]
                rows = rows[: times.index(start_ns)]
            if rows:
                yield _frame(kind, rows).sort(kind.time, "symbol", "seq")
            if not full:
                return
            limit = PAGE_ROWS

    def count(self, kind: Kind, venue: str, start_ns: int, end_ns: int) -> int:
        """How many rows of a kind and venue have start_ns <= time < end_ns."""
        statement = (
            f"SELECT count() FROM {kind.name} WHERE venue = %s "  # noqa: S608
            f"AND {kind.time} >= cast(%s AS timestamp_ns) AND {kind.time} < cast(%s AS timestamp_ns)"
        )
        return int(self._fetch(statement, [venue, start_ns, end_ns])[0][0])

    def applied(self, table: str) -> None:
        """Wait until what is committed to a table is visible."""
        self._fetch(f"SELECT wait_wal_table('{table}')", [])

    def _bars(self, query: Query) -> pl.DataFrame:
        assert query.interval is not None
        interval = INTERVALS[query.interval]
        first, last = _whole(interval, query.start_ns, query.end_ns)
        if first >= last:
            return _empty(BARS)
        source = _SOURCES.get(interval.name, "bars_1m")
        time = "ts_event" if source is None else "ts"
        made = _OF_TRADES if source is None else _OF_BARS.format(view=source)
        statement = (
            f"SELECT cast(bucket AS long), * FROM (SELECT {time} AS bucket, {made} "  # noqa: S608
            f"venue = %s AND symbol = %s "
            f"AND {time} >= cast(%s AS timestamp_ns) AND {time} < cast(%s AS timestamp_ns) "
            f"SAMPLE BY {interval.questdb} ALIGN TO CALENDAR) ORDER BY bucket"
        )
        rows = self._fetch(statement, [query.venue, query.symbol, first, last])
        bars = _frame(BARS, [(row[0], query.venue, query.symbol, *row[2:]) for row in rows])
        if query.fill == "none":
            return bars
        return self._filled(query, interval, bars, first, min(last, now_ns()))

    def _filled(
        self, query: Query, interval: Interval, bars: pl.DataFrame, first: int, last: int
    ) -> pl.DataFrame:
        """Bars with each empty interval as a flat one at the close before it; none before the first close."""
        before = self._fetch(
            "SELECT close FROM bars_1m WHERE venue = %s AND symbol = %s AND ts < cast(%s AS timestamp_ns) "
            "ORDER BY ts DESC LIMIT 1",
            [query.venue, query.symbol, first],
        )
        if not before and bars.is_empty():
            return bars
        starts = [first if before else int(bars["ts"].cast(pl.Int64)[0])]
        while (following := int(interval.following(np.array([starts[-1]]))[0])) < last:
            starts.append(following)
        grid = pl.DataFrame({"ts": starts}).with_columns(pl.col("ts").cast(_TIME))
        close = pl.col("close").forward_fill()
        if before:
            close = close.fill_null(float(before[0][0]))
        return (
            grid.join(bars, on="ts", how="left", maintain_order="left")
            .with_columns(close=close, venue=pl.lit(query.venue), symbol=pl.lit(query.symbol))
            .with_columns(
                *(pl.col(name).fill_null(pl.col("close")) for name in ("open", "high", "low")),
                *(pl.col(name).fill_null(0) for name in ("volume", "turnover", "trades", "buy_volume")),
            )
            .select(BARS.names)
        )

    def _fetch(self, statement: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(
                    host=self._settings.host,
                    port=self._settings.pg_port,
                    user=self._settings.reader,
                    password=self._settings.reader_password.get_secret_value(),
                    dbname="qdb",
                    autocommit=True,
                    connect_timeout=5,
                )
            with self._connection.cursor(binary=True) as cursor:
                return cursor.execute(statement.encode(), parameters).fetchall()
        except psycopg.OperationalError as reason:
            self.close()
            raise ConnectError(
                f"questdb: no answer on {self._address}: {reason}",
                remedy="Start the platform with `tapehouse up`, or look at its log.",
            ) from reason
        except psycopg.Error as reason:
            raise TapehouseError(f"questdb: {reason}", statement=statement) from reason


def _whole(interval: Interval, start_ns: int, end_ns: int) -> tuple[int, int]:
    """The span of rows that the bars starting in [start_ns, end_ns) are made of."""
    bounds = np.array([start_ns, end_ns])
    buckets = interval.bucket(bounds)
    aligned = np.where(buckets == bounds, buckets, interval.following(buckets))
    return int(aligned[0]), int(aligned[1])


def _selected(column: Column) -> str:
    return f"cast({column.name} AS long)" if column.type == "time" else column.name


def _frame(kind: Kind, rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    schema = {column.name: _POLARS[column.type] for column in kind.columns}
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    data = {
        name: pl.Series(name, values, dtype)
        for (name, dtype), values in zip(schema.items(), columns, strict=True)
    }
    times = [column.name for column in kind.columns if column.type == "time"]
    return pl.DataFrame(data).with_columns(pl.col(times).cast(_TIME))


def _empty(kind: Kind) -> pl.DataFrame:
    return _frame(kind, [])
