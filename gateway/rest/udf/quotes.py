"""Quotes of symbols: the last price, the day's figures, and the best bid and ask where there are quotes of today."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from gateway.query import MAX_SYMBOLS, Query
from gateway.rest.udf.names import Series, SeriesNames
from gateway.surface import QuerySurface
from tapehouse.clock import DAY, MAX_TS, now_ns
from tapehouse.errors import UnknownSeriesError, UsageError
from tapehouse.model import QUOTES


def quotes(surface: QuerySurface, names: SeriesNames, asked: Sequence[str]) -> dict[str, Any]:
    """A quote of each symbol that is asked for, in that order, by the name that was asked for."""
    if len(asked) > MAX_SYMBOLS:
        raise UsageError(f"symbols: expected at most {MAX_SYMBOLS}, was {len(asked):,}")
    found: dict[str, Series | str] = {name: _find(names, name) for name in asked}
    series = {one for one in found.values() if isinstance(one, Series)}
    values: dict[Series, dict[str, Any]] = {}
    for venue in sorted({one.venue for one in series}):
        values |= _values(surface, venue, sorted(one.symbol for one in series if one.venue == venue))
    return {"s": "ok", "d": [_quote(name, one, values) for name, one in found.items()]}


def _find(names: SeriesNames, name: str) -> Series | str:
    """The series, or why there is none: the quotes of the others are sent all the same."""
    try:
        return names.find(name)
    except UnknownSeriesError as reason:
        return f"unknown_symbol {reason.message}"


def _quote(name: str, series: Series | str, values: dict[Series, dict[str, Any]]) -> dict[str, Any]:
    if isinstance(series, str):
        return {"s": "error", "n": name, "v": {}, "errmsg": series}
    return {"s": "ok", "n": name, "v": values[series]}


def _values(surface: QuerySurface, venue: str, symbols: Sequence[str]) -> dict[Series, dict[str, Any]]:
    days = surface.read(Query("bars", venue, tuple(symbols), 0, MAX_TS, "1d", limit=2, last=True))
    today = now_ns() // DAY * DAY
    last = Query(
        QUOTES.name, venue, tuple(symbols), today, MAX_TS,
        columns=("symbol", "bid", "ask"), limit=1, last=True,
    )  # fmt: skip
    best = {row["symbol"]: row for row in surface.read(last).iter_rows(named=True)}
    return {
        Series(venue, symbol): {
            "short_name": symbol,
            "original_name": f"{venue}:{symbol}",
            "exchange": venue,
            "description": f"{venue}:{symbol}",
            **_of_day(days.filter(pl.col("symbol") == symbol).rows(named=True)),
            **_of_book(best.get(symbol, {})),
        }
        for symbol in symbols
    }


def _of_day(days: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The figures of the last UTC day with trades, and the change since the close of the one before."""
    if not days:
        return {}
    day = days[-1]
    found = {
        "lp": day["close"],
        "open_price": day["open"],
        "high_price": day["high"],
        "low_price": day["low"],
        "volume": day["volume"],
    }
    if len(days) > 1:
        before = days[0]["close"]
        found |= {"prev_close_price": before, "ch": day["close"] - before}
        if before:
            found["chp"] = (day["close"] - before) / abs(before) * 100
    return found


def _of_book(row: dict[str, Any]) -> dict[str, float]:
    """The best bid and ask; an empty side of the book has none."""
    found = {name: row[name] for name in ("bid", "ask") if row.get(name) is not None}
    return found | {"spread": found["ask"] - found["bid"]} if len(found) == 2 else found
