"""Bars as UDF's client reads them: columns in order of time, times in seconds. Open bars are among them."""

from __future__ import annotations

from typing import Any

import polars as pl

from gateway.query import Query
from gateway.rest.udf.names import Series
from gateway.rest.udf.parameters import MAX_BARS
from gateway.surface import QuerySurface
from tapehouse.clock import MAX_TS, SECOND, Interval
from tapehouse.errors import UsageError

_COLUMNS = ("ts", "open", "high", "low", "close", "volume")


def span_ns(start_s: int, end_s: int) -> tuple[int, int]:
    """The part of [start_s, end_s) that can be queried, ns. Raises UsageError if it ends before it begins."""
    if end_s < start_s:
        raise UsageError(f"to: expected a time after from, {start_s}, was {end_s}")
    return min(max(start_s * SECOND, 0), MAX_TS), min(max(end_s * SECOND, 0), MAX_TS)


def history(
    surface: QuerySurface, series: Series, interval: Interval, start_s: int, end_s: int, countback: int | None
) -> dict[str, Any]:
    """The bars that start in [start_s, end_s), or the last `countback` before `end_s`; the newest `MAX_BARS` of more.

    Where there are none: the time of the last bar before the span, for the client to go on from.
    """
    start, end = span_ns(start_s, end_s)
    wanted = MAX_BARS if countback is None else min(countback, MAX_BARS)
    bars = last_bars(surface, series, interval, start, end, wanted)
    if countback is not None and bars.height < wanted:
        # In a quiet market: the client's polling throws where it gets one bar of two.
        bars = last_bars(surface, series, interval, 0, end, wanted)
    if not bars.is_empty():
        return {"s": "ok", "t": seconds(bars), **_values(bars)}
    before = last_bars(surface, series, interval, 0, start, 1)
    return {"s": "no_data"} | ({} if before.is_empty() else {"nextTime": seconds(before)[0]})


def last_bars(
    surface: QuerySurface, series: Series, interval: Interval, start_ns: int, end_ns: int, count: int
) -> pl.DataFrame:
    """The last bars that start in a span, which may be empty."""
    if start_ns >= end_ns:
        return pl.DataFrame(schema=dict.fromkeys(_COLUMNS, pl.Float64))
    return surface.read(
        Query(
            "bars", series.venue, (series.symbol,), start_ns, end_ns, interval.name,
            columns=_COLUMNS, limit=count, last=True,
        )
    )  # fmt: skip


def seconds(bars: pl.DataFrame) -> list[int]:
    """The starts of bars in seconds; days, weeks and months start at 00:00 UTC, as the library expects of them."""
    starts: list[int] = (bars["ts"].to_physical() // SECOND).to_list()
    return starts


def _values(bars: pl.DataFrame) -> dict[str, list[float]]:
    return {name[0]: bars[name].to_list() for name in _COLUMNS[1:]}
