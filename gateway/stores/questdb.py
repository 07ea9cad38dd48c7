"""The hot store's answers to queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import polars as pl

from gateway.query import Query
from tapehouse.clock import INTERVALS, Interval, now_ns
from tapehouse.model import BARS, GAPS, KINDS, NO_BAR
from tapehouse.questdb import QuestReader, bar_source, frame, made_of
from tapehouse.settings import QuestDB
from tapehouse.tabular import TIME


class QuestStore:
    """Answers queries from QuestDB. One connection, for one caller at a time."""

    def __init__(self, settings: QuestDB) -> None:
        self._reader = QuestReader(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def read(self, query: Query) -> pl.DataFrame:
        """The whole answer: the model's columns, times as Datetime(ns, UTC), ordered by the key."""
        pages = list(self.stream(query))
        return pl.concat(pages) if pages else frame(KINDS[query.kind].columns, [])

    def stream(self, query: Query) -> Iterator[pl.DataFrame]:
        """The answer in frames of about 50,000 rows, none when it is empty; bars come as one frame."""
        if query.kind == "bars":
            yield self._bars(query)
        elif query.kind == "account_trades":
            account = query.account_id
            yield from self._reader.account_rows(account, account, query.start_ns, query.end_ns)
        else:
            kind = KINDS[query.kind]
            yield from self._reader.rows(kind, query.venue, [query.symbol], query.start_ns, query.end_ns)

    def gaps(
        self, only: Mapping[str, str | None], *, open_only: bool = False, limit: int = 0
    ) -> list[dict[str, Any]]:
        """Gaps, newest first, times in ns; `only` gives columns their value, None for any; `limit` 0 for all."""
        bound = {GAPS.column(name).name: value for name, value in only.items() if value is not None}
        where = "".join(f" AND {name} = %s" for name in bound) + (" AND NOT closed" if open_only else "")
        columns = ", ".join(
            f"cast({column.name} AS long) AS {column.name}" if column.type == "time" else column.name
            for column in GAPS.columns
        )
        statement = f"SELECT {columns} FROM gaps WHERE true{where} ORDER BY ts_event DESC"  # noqa: S608
        rows = self._reader.fetch(statement + (f" LIMIT {limit:d}" if limit else ""), list(bound.values()))
        return [dict(zip(GAPS.names, row, strict=True)) for row in rows]

    def _bars(self, query: Query) -> pl.DataFrame:
        assert query.interval is not None
        interval = INTERVALS[query.interval]
        first, last = _whole(interval, query.start_ns, query.end_ns)
        bars = self._made(query, interval, first, last)
        if query.fill == "none":
            return bars
        return self._filled(query, interval, bars, first, min(last, now_ns()))

    def _made(self, query: Query, interval: Interval, first: int, last: int) -> pl.DataFrame:
        """The bars of the rows from `first`, a bar's start, to `last` (exclusive)."""
        time, made = made_of(bar_source(interval.name))
        statement = (
            f"SELECT cast(bucket AS long), * FROM (SELECT {time} AS bucket, {made} "  # noqa: S608
            f"venue = %s AND symbol = %s "
            f"AND {time} >= cast(%s AS timestamp_ns) AND {time} < cast(%s AS timestamp_ns) "
            f"SAMPLE BY {interval.questdb} ALIGN TO CALENDAR) ORDER BY bucket"
        )
        rows = self._reader.fetch(statement, [query.venue, query.symbol, first, last]) if first < last else []
        return frame(BARS.columns, [(row[0], query.venue, query.symbol, *row[2:]) for row in rows])

    def _close_before(self, query: Query, interval: Interval, first: int) -> float | None:
        """The close of the last bar that there is before `first`, a bar's start."""
        table = bar_source(interval.name)
        time, _ = made_of(table)
        counted = f"(flags & {int(NO_BAR)}) = 0 AND" if table == "trades" else ""
        found = self._reader.fetch(
            f"SELECT cast({time} AS long) FROM {table} WHERE {counted} venue = %s AND symbol = %s "  # noqa: S608
            f"AND {time} < cast(%s AS timestamp_ns) ORDER BY {time} DESC LIMIT 1",
            [query.venue, query.symbol, first],
        )
        if not found:
            return None
        start = int(interval.bucket(np.array(found[0]))[0])
        return float(self._made(query, interval, start, first)["close"][-1])

    def _filled(
        self, query: Query, interval: Interval, bars: pl.DataFrame, first: int, last: int
    ) -> pl.DataFrame:
        """Bars with each empty interval as a flat one at the close before it; none before the first close.

        A flat bar has no trades: its volumes are 0, its seqs null.
        """
        before = self._close_before(query, interval, first)
        if first >= last or (before is None and bars.is_empty()):
            return bars
        starts = [int(bars["ts"].cast(pl.Int64)[0]) if before is None else first]
        while (following := int(interval.following(np.array([starts[-1]]))[0])) < last:
            starts.append(following)
        close = pl.col("close").forward_fill().fill_null(pl.lit(before, pl.Float64))
        return (
            pl.DataFrame({"ts": starts})
            .with_columns(pl.col("ts").cast(TIME))
            .join(bars, on="ts", how="left", maintain_order="left")
            .with_columns(close=close, venue=pl.lit(query.venue), symbol=pl.lit(query.symbol))
            .with_columns(
                *(pl.col(name).fill_null(pl.col("close")) for name in ("open", "high", "low")),
                *(pl.col(name).fill_null(0) for name in ("volume", "turnover", "trades", "buy_volume")),
            )
            .select(BARS.names)
        )


def _whole(interval: Interval, start_ns: int, end_ns: int) -> tuple[int, int]:
    """The span of rows that the bars starting in [start_ns, end_ns) are made of."""
    bounds = np.array([start_ns, end_ns])
    buckets = interval.bucket(bounds)
    aligned = np.where(buckets == bounds, buckets, interval.following(buckets))
    return int(aligned[0]), int(aligned[1])
